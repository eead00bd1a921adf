import 'dart:async';
import 'dart:convert';
import 'dart:io';

import 'package:web_socket_channel/io.dart';
import 'package:web_socket_channel/web_socket_channel.dart';

/// Talks to the echo server of the tests and prints a line of JSON for each
/// scenario: its name, and what went wrong, or null.
Future<void> main(List<String> arguments) async {
  final [url, plainUrl, tlsUrl, certificate] = arguments;
  final scenarios = <String, Future<void> Function()>{
    'text in all of Unicode': () => _unicode(url),
    'binary messages': () => _binary(url),
    'empty messages': () => _empty(url),
    'messages of 1 MiB': () => _large(url),
    'a message that is too big': () => _tooBig(url),
    'a thousand messages at once': () => _many(url),
    'a subprotocol': () => _subprotocol(url),
    'no common subprotocol': () => _noSubprotocol(url),
    'close by the client': () => _closeByClient(url),
    'close by the server': () => _closeByServer(url),
    'pings by the client': () => _pings(url),
    'a ping by the server': () => _pingByServer(url),
    'compression as offered by default': () => _compression(url),
    'compression off': () => _compression(url, enabled: false),
    'compression off at the server': () => _compression(plainUrl),
    'no context takeover by the client': () =>
        _compression(url, clientNoContextTakeover: true),
    'no context takeover by the server': () =>
        _compression(url, serverNoContextTakeover: true),
    'a window of 9 bits at the client': () => _compression(url, clientBits: 9),
    'a window of 9 bits at the server': () => _compression(url, serverBits: 9),
    'TLS': () => _tls(tlsUrl, certificate),
  };
  for (final MapEntry(key: name, value: scenario) in scenarios.entries) {
    String? fault;
    try {
      await scenario().timeout(const Duration(seconds: 20));
      // Whatever it is, the test shall tell.
      // ignore: avoid_catches_without_on_clauses
    } catch (error, trace) {
      fault = '$error\n$trace';
    }
    stdout.writeln(jsonEncode([name, fault]));
  }
  await stdout.flush();
  exit(0);
}

void _check(Object? found, Object? expected) {
  if (found != expected) {
    throw StateError('$found instead of $expected');
  }
}

/// A channel, and what arrives in it one by one.
class _Peer {
  _Peer(this.channel) : incoming = StreamIterator(channel.stream);

  final WebSocketChannel channel;
  final StreamIterator<Object?> incoming;

  Future<Object?> next() async {
    if (!await incoming.moveNext()) {
      throw StateError('closed: ${channel.closeCode} ${channel.closeReason}');
    }
    return incoming.current;
  }

  Future<void> echoes(String text) async {
    channel.sink.add(text);
    final echo = await next();
    if (echo != text) {
      throw StateError('another text came back');
    }
  }

  Future<void> echoesBytes(List<int> data) async {
    channel.sink.add(data);
    final echo = await next();
    if (echo is! List<int> || base64Encode(echo) != base64Encode(data)) {
      throw StateError('other bytes came back');
    }
  }

  /// Waits until the server ends the connection.
  Future<void> isClosed(int code, String reason) async {
    _check(await incoming.moveNext(), false);
    _check(channel.closeCode, code);
    _check(channel.closeReason, reason);
  }

  /// Closes, and waits until the closing handshake is complete.
  Future<void> close([int code = 1000, String reason = '']) async {
    final closed = channel.sink.close(code, reason);
    _check(await incoming.moveNext(), false);
    await closed;
  }
}

Future<_Peer> _connect(
  String url, {
  List<String>? protocols,
  Duration? pingInterval,
  HttpClient? client,
}) async {
  final channel = IOWebSocketChannel.connect(
    url,
    protocols: protocols,
    pingInterval: pingInterval,
    customClient: client,
  );
  await channel.ready;
  return _Peer(channel);
}

Future<void> _unicode(String url) async {
  final peer = await _connect(url);
  const step = 0x8000;
  for (var first = 0; first < 0x110000; first += step) {
    await peer.echoes(
      String.fromCharCodes([
        for (var point = first; point < first + step; point++)
          if (point < 0xd800 || point > 0xdfff) point,
      ]),
    );
  }
  await peer.close();
}

Future<void> _binary(String url) async {
  final peer = await _connect(url);
  await peer.echoesBytes([for (var i = 0; i < 256; i++) i]);
  // What is no UTF-8 is good binary data.
  await peer.echoesBytes([0xff, 0xfe, 0xc0]);
  await peer.close();
}

Future<void> _empty(String url) async {
  final peer = await _connect(url);
  await peer.echoes('');
  await peer.echoesBytes([]);
  await peer.echoes('');
  await peer.close();
}

Future<void> _large(String url) async {
  final peer = await _connect(url);
  await peer.echoes('0123456789abcdef' * (1 << 16));
  await peer.echoesBytes([
    for (var i = 0; i < 1 << 20; i++) i * 7919 >> 5 & 255,
  ]);
  await peer.close();
}

Future<void> _tooBig(String url) async {
  final peer = await _connect(url);
  peer.channel.sink.add('x' * ((1 << 20) + 1));
  _check(await peer.incoming.moveNext(), false);
  _check(peer.channel.closeCode, 1009);
}

Future<void> _many(String url) async {
  final peer = await _connect(url);
  for (var i = 0; i < 1000; i++) {
    peer.channel.sink.add('message $i');
  }
  for (var i = 0; i < 1000; i++) {
    _check(await peer.next(), 'message $i');
  }
  await peer.close();
}

Future<void> _subprotocol(String url) async {
  final peer = await _connect(url, protocols: ['nonsense', 'chat.v2', 'chat']);
  _check(peer.channel.protocol, 'chat.v2');
  await peer.close();
}

Future<void> _noSubprotocol(String url) async {
  final peer = await _connect(url, protocols: ['nonsense']);
  _check(peer.channel.protocol ?? '', '');
  await peer.close();
}

Future<void> _closeByClient(String url) async {
  final peer = await _connect(url);
  await peer.close(4321, 'tschüß');
}

Future<void> _closeByServer(String url) async {
  final peer = await _connect(url);
  peer.channel.sink.add('close 4000 ade, Welt');
  await peer.isClosed(4000, 'ade, Welt');
}

Future<void> _pings(String url) async {
  // A Pong that does not come within the interval ends the connection.
  final peer = await _connect(
    url,
    pingInterval: const Duration(milliseconds: 100),
  );
  final watch = Stopwatch()..start();
  while (watch.elapsedMilliseconds < 500) {
    await peer.echoes('still there');
    await Future<void>.delayed(const Duration(milliseconds: 20));
  }
  await peer.close();
}

Future<void> _pingByServer(String url) async {
  final peer = await _connect(url);
  peer.channel.sink.add('ping');
  await peer.echoes('after the ping');
  await peer.close();
}

Future<void> _compression(
  String url, {
  bool enabled = true,
  bool clientNoContextTakeover = false,
  bool serverNoContextTakeover = false,
  int? clientBits,
  int? serverBits,
}) async {
  final socket = await WebSocket.connect(
    url,
    compression: CompressionOptions(
      enabled: enabled,
      clientNoContextTakeover: clientNoContextTakeover,
      serverNoContextTakeover: serverNoContextTakeover,
      clientMaxWindowBits: clientBits,
      serverMaxWindowBits: serverBits,
    ),
  );
  final peer = _Peer(IOWebSocketChannel(socket));
  for (var i = 0; i < 20; i++) {
    await peer.echoes('all work and no play makes $i a dull boy. ' * i * i);
    await peer.echoesBytes([for (var k = 0; k < 5000; k++) k * i >> 3 & 255]);
  }
  await peer.close();
}

Future<void> _tls(String url, String certificate) async {
  final context = SecurityContext()..setTrustedCertificates(certificate);
  final peer = await _connect(url, client: HttpClient(context: context));
  await peer.echoes('secret');
  await peer.echoes('secret ' * 100000);
  await peer.close();
}
