import 'dart:convert';

import 'package:meta/meta.dart';

/// One line of the phone book.
@immutable
class Entry {
  /// Makes the line that says that [name] has [number].
  const Entry(this.name, this.number);

  /// Whose number it is; a book has each name once.
  final String name;

  /// The number, as people write it: digits, blanks, `+`, and so on.
  final String number;

  @override
  bool operator ==(Object other) =>
      other is Entry && other.name == name && other.number == number;

  @override
  int get hashCode => Object.hash(name, number);

  @override
  String toString() => '$name: $number';
}

/// What the server says: a text that holds a JSON list.
sealed class ServerMessage {
  const ServerMessage();

  /// Reads [text], or throws a [FormatException] that says what is wrong.
  factory ServerMessage.parse(String text) {
    final Object? message = jsonDecode(text);
    return switch (message) {
      ['book', ...final List<Object?> lines] => Book(
        lines.map(_entry).toList(),
      ),
      ['added', final String name, final String number] => Added(
        Entry(name, number),
      ),
      ['removed', final String name] => Removed(name),
      ['refused', final String reason] => Refused(reason),
      final List<Object?> items => Other(items),
      _ => throw FormatException('not a list', text),
    };
  }

  static Entry _entry(Object? line) => switch (line) {
    [final String name, final String number] => Entry(name, number),
    _ => throw FormatException('not a line of the book', jsonEncode(line)),
  };
}

/// The whole book; comes first on each connection.
class Book extends ServerMessage {
  /// Makes the message that carries all [entries].
  const Book(this.entries);

  /// All lines.
  final List<Entry> entries;
}

/// A line is new, or has another number now.
class Added extends ServerMessage {
  /// Makes the message that carries [entry].
  const Added(this.entry);

  /// The line.
  final Entry entry;
}

/// A line is gone.
class Removed extends ServerMessage {
  /// Makes the message that takes [name] out.
  const Removed(this.name);

  /// Whose line it was.
  final String name;
}

/// The server did not do what this client asked for.
class Refused extends ServerMessage {
  /// Makes the message that tells [reason].
  const Refused(this.reason);

  /// Why not, for people.
  final String reason;
}

/// A list that means nothing to a phone book, such as `["1","2","3"]`.
class Other extends ServerMessage {
  /// Makes the message that carries [items].
  const Other(this.items);

  /// What is in the list.
  final List<Object?> items;
}

/// The text that asks the server to write [entry] into the book.
String addText(Entry entry) => jsonEncode(['add', entry.name, entry.number]);

/// The text that asks the server to take [name] out of the book.
String removeText(String name) => jsonEncode(['remove', name]);
