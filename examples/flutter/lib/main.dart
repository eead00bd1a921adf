import 'dart:io';

import 'package:flutter/material.dart';
import 'package:phone_book/src/connection.dart';
import 'package:phone_book/src/page.dart';
import 'package:phone_book/src/phone_book.dart';

/// Address of the server, set with `--dart-define=SERVER=wss://example.org/`.
const String _server = String.fromEnvironment('SERVER');

/// The server when none is set: the machine that this was started on, which an
/// Android emulator sees at 10.0.2.2 instead of 127.0.0.1.
Uri defaultServer({required bool android}) =>
    Uri.parse('ws://${android ? '10.0.2.2' : '127.0.0.1'}:8467');

void main() => runApp(
  PhoneBookApp(
    server: _server.isEmpty
        ? defaultServer(android: Platform.isAndroid)
        : Uri.parse(_server),
  ),
);

/// The app, which owns the connection.
class PhoneBookApp extends StatefulWidget {
  /// Makes an app that shows the phone book of [server].
  const PhoneBookApp({required this.server, this.connector, super.key});

  /// Where the server is.
  final Uri server;

  /// Opens the channel to it; null means a WebSocket.
  final Connector? connector;

  @override
  State<PhoneBookApp> createState() => _PhoneBookAppState();
}

class _PhoneBookAppState extends State<PhoneBookApp> {
  late final PhoneBook _book;
  late final AppLifecycleListener _lifecycle;

  @override
  void initState() {
    super.initState();
    _book = PhoneBook(Connection(widget.server, connector: widget.connector));
    // A phone that was asleep need not wait for the next attempt.
    _lifecycle = AppLifecycleListener(onResume: _book.connection.retryNow);
  }

  @override
  void dispose() {
    _lifecycle.dispose();
    _book.dispose();
    super.dispose();
  }

  @override
  Widget build(BuildContext context) => MaterialApp(
    title: 'Phone book',
    theme: ThemeData(
      colorSchemeSeed: Colors.teal,
      // The default is a shader, which a tester without assets does not have.
      splashFactory: InkRipple.splashFactory,
    ),
    home: PhoneBookPage(book: _book),
  );
}
