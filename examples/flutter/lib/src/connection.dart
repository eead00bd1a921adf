import 'dart:async';

import 'package:phone_book/src/backoff.dart';
import 'package:web_socket_channel/io.dart';
import 'package:web_socket_channel/web_socket_channel.dart';

/// How things stand between this client and the server.
enum LinkState {
  /// An attempt to connect is under way.
  connecting,

  /// Messages can be sent.
  online,

  /// The connection failed or was lost; the next attempt is a matter of time.
  waiting,

  /// [Connection.close] was called, or [Connection.start] was not.
  closed,
}

/// Opens a channel to a URL; tests replace it.
typedef Connector = WebSocketChannel Function(Uri url);

/// Opens a WebSocket as phones and desktops do it.
///
/// The pings notice a server that is out of reach (a phone that left the house
/// sees no end of its connection otherwise), and the timeout one that does not
/// answer. In a browser, which does both by itself, use
/// `WebSocketChannel.connect(url)` instead.
WebSocketChannel openChannel(Uri url) => IOWebSocketChannel.connect(
  url,
  pingInterval: const Duration(seconds: 10),
  connectTimeout: const Duration(seconds: 10),
);

/// A WebSocket that comes back.
///
/// It connects, hands out what arrives, and connects again when the connection
/// is lost. Nothing is sent twice and nothing is kept for later: [send] tells
/// whether there was a connection, and what the server knew before it was lost
/// is for the server to say again.
class Connection {
  /// Makes a connection to [url], `ws://` or `wss://`, that is not started.
  Connection(this.url, {Connector? connector, Backoff? backoff})
    : _connector = connector ?? openChannel,
      _backoff = backoff ?? Backoff();

  /// Where the server is.
  final Uri url;

  final Connector _connector;
  final Backoff _backoff;
  // Synchronous, so that a listener never finds `state` ahead of the news.
  final _states = StreamController<LinkState>.broadcast(sync: true);
  final _texts = StreamController<String>.broadcast(sync: true);

  LinkState _state = LinkState.closed;
  WebSocketChannel? _channel;
  Timer? _timer;

  /// How things stand now.
  LinkState get state => _state;

  /// Each change of [state].
  Stream<LinkState> get states => _states.stream;

  /// Each text that the server sends; binary messages are not for us.
  Stream<String> get texts => _texts.stream;

  /// Connects, and stays connected until [close].
  void start() {
    if (_state == LinkState.closed && !_states.isClosed) {
      _connect();
    }
  }

  /// Connects at once if the next attempt is due later; the screen went on.
  void retryNow() {
    if (_state == LinkState.waiting) {
      _connect();
    }
  }

  /// Sends [text] and returns true, or returns false because nobody is there.
  bool send(String text) {
    final channel = _channel;
    if (_state != LinkState.online || channel == null) {
      return false;
    }
    channel.sink.add(text);
    return true;
  }

  /// Ends the connection for good, with the closing handshake.
  Future<void> close() async {
    final channel = _channel;
    final online = _state == LinkState.online;
    _timer?.cancel();
    _channel = null;
    _move(LinkState.closed);
    if (channel != null) {
      final closed = channel.sink.close(1000);
      // A channel that is still connecting closes as soon as it is open.
      online ? await closed : unawaited(closed);
    }
    await _states.close();
    await _texts.close();
  }

  void _connect() {
    _timer?.cancel();
    final channel = _channel = _connector(url);
    _move(LinkState.connecting);
    unawaited(
      channel.ready.then(
        (_) {
          if (identical(channel, _channel)) {
            _move(LinkState.online);
          }
        },
        // The stream ends with the same error.
        onError: (Object _) {},
      ),
    );
    channel.stream.listen(
      (message) {
        if (identical(channel, _channel) && message is String) {
          // Not earlier: a server that accepts and then turns everybody away
          // must not be called twice a second.
          _backoff.reset();
          _texts.add(message);
        }
      },
      onError: (Object _) {},
      onDone: () {
        if (identical(channel, _channel)) {
          _channel = null;
          _timer = Timer(_backoff.next(), _connect);
          _move(LinkState.waiting);
        }
      },
    );
  }

  void _move(LinkState state) {
    if (_state != state) {
      _state = state;
      _states.add(state);
    }
  }
}
