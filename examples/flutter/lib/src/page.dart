import 'package:flutter/material.dart';
import 'package:phone_book/src/connection.dart';
import 'package:phone_book/src/messages.dart';
import 'package:phone_book/src/phone_book.dart';

/// The one page: a list, a form below it, and how the connection is.
class PhoneBookPage extends StatefulWidget {
  /// Shows [book], which somebody else disposes of.
  const PhoneBookPage({required this.book, super.key});

  /// What is shown.
  final PhoneBook book;

  @override
  State<PhoneBookPage> createState() => _PhoneBookPageState();
}

class _PhoneBookPageState extends State<PhoneBookPage> {
  final _name = TextEditingController();
  final _number = TextEditingController();
  final _nameFocus = FocusNode();

  @override
  void dispose() {
    _name.dispose();
    _number.dispose();
    _nameFocus.dispose();
    super.dispose();
  }

  void _add() {
    final name = _name.text.trim();
    final number = _number.text.trim();
    if (name.isEmpty || number.isEmpty) {
      return;
    }
    if (widget.book.add(Entry(name, number))) {
      _name.clear();
      _number.clear();
      _nameFocus.requestFocus();
    }
  }

  @override
  Widget build(BuildContext context) => ListenableBuilder(
    listenable: widget.book,
    builder: (context, _) {
      final notice = widget.book.notice;
      return Scaffold(
        appBar: AppBar(title: const Text('Phone book')),
        body: SafeArea(
          child: Column(
            children: [
              _LinkStateBar(widget.book.state),
              Expanded(child: _list()),
              if (notice != null)
                Padding(
                  padding: const EdgeInsets.symmetric(horizontal: 12),
                  child: Semantics(
                    liveRegion: true,
                    child: Text(
                      notice,
                      style: TextStyle(
                        color: Theme.of(context).colorScheme.error,
                      ),
                    ),
                  ),
                ),
              _form(),
            ],
          ),
        ),
      );
    },
  );

  Widget _list() {
    final entries = widget.book.entries;
    if (entries.isEmpty) {
      return const Center(child: Text('Nobody is in the book yet.'));
    }
    return ListView.builder(
      itemCount: entries.length,
      itemBuilder: (context, index) {
        final entry = entries[index];
        return ListTile(
          key: ValueKey(entry.name),
          title: Text(entry.name),
          subtitle: Text(entry.number),
          trailing: IconButton(
            icon: const Icon(Icons.delete_outline),
            tooltip: 'Remove ${entry.name}',
            onPressed: () => widget.book.remove(entry.name),
          ),
        );
      },
    );
  }

  Widget _form() {
    final online = widget.book.state == LinkState.online;
    return Padding(
      padding: const EdgeInsets.all(12),
      child: Row(
        children: [
          Expanded(
            child: TextField(
              key: const Key('name'),
              controller: _name,
              focusNode: _nameFocus,
              textInputAction: TextInputAction.next,
              decoration: const InputDecoration(labelText: 'Name'),
            ),
          ),
          const SizedBox(width: 12),
          Expanded(
            child: TextField(
              key: const Key('number'),
              controller: _number,
              keyboardType: TextInputType.phone,
              onSubmitted: (_) => _add(),
              decoration: const InputDecoration(labelText: 'Number'),
            ),
          ),
          IconButton(
            key: const Key('add'),
            icon: const Icon(Icons.person_add),
            tooltip: 'Add',
            onPressed: online ? _add : null,
          ),
        ],
      ),
    );
  }
}

/// How the connection is, in words; colours alone tell some people nothing.
class _LinkStateBar extends StatelessWidget {
  const _LinkStateBar(this.state);

  final LinkState state;

  @override
  Widget build(BuildContext context) {
    final (icon, text) = switch (state) {
      LinkState.connecting => (Icons.sync, 'Connecting'),
      LinkState.online => (Icons.cloud_done, 'Online'),
      LinkState.waiting => (Icons.cloud_off, 'Offline, trying again'),
      LinkState.closed => (Icons.cloud_off, 'Closed'),
    };
    final colors = Theme.of(context).colorScheme;
    final good = state == LinkState.online;
    return Semantics(
      liveRegion: true,
      child: ColoredBox(
        color: good ? colors.primaryContainer : colors.errorContainer,
        child: Padding(
          padding: const EdgeInsets.symmetric(horizontal: 16, vertical: 6),
          child: Row(
            children: [
              Icon(icon, size: 18),
              const SizedBox(width: 8),
              Expanded(child: Text(text)),
            ],
          ),
        ),
      ),
    );
  }
}
