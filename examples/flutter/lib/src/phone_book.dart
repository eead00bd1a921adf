import 'dart:async';

import 'package:flutter/foundation.dart';
import 'package:phone_book/src/connection.dart';
import 'package:phone_book/src/messages.dart';

/// What the page shows: the server's book, as far as it is known here.
class PhoneBook extends ChangeNotifier {
  /// Makes an empty book that fills from [connection], which it starts.
  PhoneBook(this.connection) {
    _subscriptions = [
      connection.states.listen((_) => notifyListeners()),
      connection.texts.listen(_receive),
    ];
    connection.start();
  }

  /// Where the book comes from; closed by [dispose].
  final Connection connection;

  late final List<StreamSubscription<Object?>> _subscriptions;
  final Map<String, String> _numbers = {};
  String? _notice;

  /// The lines in the order of their names.
  ///
  /// They stay while the connection is lost: an old number is better than none.
  List<Entry> get entries => [
    for (final name in _numbers.keys.toList()..sort(_byName))
      Entry(name, _numbers[name]!),
  ];

  /// How things stand with the server.
  LinkState get state => connection.state;

  /// Why the server did not do the last thing it was asked for, if it did not.
  String? get notice => _notice;

  /// Asks the server to write [entry]; false if it is out of reach.
  bool add(Entry entry) => _ask(addText(entry));

  /// Asks the server to take [name] out; false if it is out of reach.
  bool remove(String name) => _ask(removeText(name));

  bool _ask(String text) {
    final sent = connection.send(text);
    _notice = sent ? null : 'No connection; nothing was sent.';
    notifyListeners();
    return sent;
  }

  void _receive(String text) {
    try {
      switch (ServerMessage.parse(text)) {
        case Book(:final entries):
          _numbers
            ..clear()
            ..addEntries(entries.map((e) => MapEntry(e.name, e.number)));
        case Added(:final entry):
          _numbers[entry.name] = entry.number;
        case Removed(:final name):
          _numbers.remove(name);
        case Refused(:final reason):
          _notice = reason;
        case Other():
          return;
      }
    } on FormatException {
      // A newer server may say things that this version cannot read.
      return;
    }
    notifyListeners();
  }

  static int _byName(String a, String b) {
    final order = a.toLowerCase().compareTo(b.toLowerCase());
    return order != 0 ? order : a.compareTo(b);
  }

  @override
  void dispose() {
    for (final subscription in _subscriptions) {
      unawaited(subscription.cancel());
    }
    unawaited(connection.close());
    super.dispose();
  }
}
