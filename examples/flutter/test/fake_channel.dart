import 'dart:async';

import 'package:flutter_test/flutter_test.dart';
import 'package:web_socket_channel/web_socket_channel.dart';

/// A channel without a network: the test is the server.
class FakeChannel extends Fake implements WebSocketChannel {
  final _ready = Completer<void>();
  final _incoming = StreamController<Object?>(sync: true);

  /// What the client sent.
  final List<Object?> sent = [];

  /// The close code that the client sent, if it did.
  int? sentCloseCode;

  @override
  Future<void> get ready => _ready.future;

  @override
  Stream<Object?> get stream => _incoming.stream;

  @override
  late final WebSocketSink sink = _FakeSink(this);

  /// Accepts the connection.
  void open() => _ready.complete();

  /// Turns the connection down, as nobody listening does.
  void refuse() {
    final error = WebSocketChannelException('refused');
    _ready.completeError(error);
    _incoming.addError(error);
    drop();
  }

  /// Sends [message] to the client.
  void say(Object message) => _incoming.add(message);

  /// Ends the connection.
  void drop() => unawaited(_incoming.close());
}

class _FakeSink extends Fake implements WebSocketSink {
  _FakeSink(this._channel);

  final FakeChannel _channel;

  @override
  void add(Object? data) => _channel.sent.add(data);

  @override
  Future<void> close([int? closeCode, String? closeReason]) async {
    _channel
      ..sentCloseCode = closeCode
      ..drop();
  }
}

/// Makes channels, and keeps them for the test.
class FakeNetwork {
  /// All channels, the newest last.
  final List<FakeChannel> channels = [];

  /// The newest channel.
  FakeChannel get channel => channels.last;

  /// Opens a channel; the test decides what becomes of it.
  WebSocketChannel connect(Uri url) {
    channels.add(FakeChannel());
    return channel;
  }
}
