import 'dart:async';
import 'dart:io';

import 'package:phone_book/src/connection.dart';
import 'package:phone_book/src/messages.dart';
import 'package:web_socket_channel/web_socket_channel.dart';

const String _usage = '''
Usage: dart bin/phone_book.dart URL COMMAND

  list                print the book
  add NAME NUMBER     write a line into it
  remove NAME         take a line out of it
  say TEXT            send TEXT as it is, and print the answer''';

/// What a command comes to: an exit code and a line to print.
typedef _Outcome = (int, String);

/// Sends one thing, prints what comes back, and exits.
Future<void> main(List<String> arguments) async {
  final (code, line) = await _run(arguments);
  (code == 0 ? stdout : stderr).writeln(line);
  await stdout.flush();
  await stderr.flush();
  exit(code);
}

Future<_Outcome> _run(List<String> arguments) async => switch (arguments) {
  [final url, 'list'] => _ask(
    url,
    null,
    (text) => switch (ServerMessage.parse(text)) {
      Book(:final entries) => (0, entries.join('\n')),
      _ => null,
    },
  ),
  [final url, 'add', final name, final number] => _ask(
    url,
    addText(Entry(name, number)),
    (text) => switch (ServerMessage.parse(text)) {
      Added(:final entry) when entry == Entry(name, number) => (0, '$entry'),
      Refused(:final reason) => (1, 'refused: $reason'),
      _ => null,
    },
  ),
  [final url, 'remove', final name] => _ask(
    url,
    removeText(name),
    (text) => switch (ServerMessage.parse(text)) {
      Removed(name: final gone) when gone == name => (0, 'removed $gone'),
      Refused(:final reason) => (1, 'refused: $reason'),
      _ => null,
    },
  ),
  [final url, 'say', final text] => _ask(
    url,
    text,
    (answer) => _isNews(answer) ? null : (0, answer),
  ),
  _ => (2, _usage),
};

/// Whether [text] is said to all clients, not in answer to this one.
bool _isNews(String text) {
  try {
    return switch (ServerMessage.parse(text)) {
      Book() || Added() || Removed() => true,
      Refused() || Other() => false,
    };
  } on FormatException {
    return false;
  }
}

/// Sends [text] to [url], and waits for a text that [judge] makes something of.
Future<_Outcome> _ask(
  String url,
  String? text,
  _Outcome? Function(String text) judge,
) async {
  try {
    final channel = openChannel(Uri.parse(url));
    await channel.ready;
    if (text != null) {
      channel.sink.add(text);
    }
    _Outcome? outcome;
    // The loop ends with the closing handshake. Leaving it earlier would stop
    // the reading, and nobody would see the server's half of that handshake.
    await for (final message in channel.stream.timeout(_patience)) {
      if (outcome == null && message is String) {
        outcome = judge(message);
        if (outcome != null) {
          unawaited(channel.sink.close(1000));
        }
      }
    }
    final code = channel.closeCode;
    return outcome ?? (1, 'the server closed: $code ${channel.closeReason}');
  } on WebSocketChannelException catch (error) {
    return (1, 'no connection: ${error.inner ?? error.message}');
  } on TimeoutException {
    return (1, 'no answer');
  } on FormatException catch (error) {
    return (1, 'not understood: ${error.message}');
  }
}

const Duration _patience = Duration(seconds: 10);
