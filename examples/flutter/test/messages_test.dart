import 'package:flutter_test/flutter_test.dart';
import 'package:phone_book/src/messages.dart';

void main() {
  test('a book is read with all its lines', () {
    final message = ServerMessage.parse('["book", ["Ada", "1"], ["Bob", "2"]]');

    expect((message as Book).entries, const [
      Entry('Ada', '1'),
      Entry('Bob', '2'),
    ]);
  });

  test('an empty book is a book', () {
    final message = ServerMessage.parse('["book"]');

    expect((message as Book).entries, isEmpty);
  });

  test('changes and refusals are read', () {
    final added = ServerMessage.parse('["added", "Ada", "1"]');
    final removed = ServerMessage.parse('["removed", "Ada"]');
    final refused = ServerMessage.parse('["refused", "full"]');

    expect((added as Added).entry, const Entry('Ada', '1'));
    expect((removed as Removed).name, 'Ada');
    expect((refused as Refused).reason, 'full');
  });

  test('any other list is kept as it is', () {
    final message = ServerMessage.parse('["1","2","3"]');

    expect((message as Other).items, ['1', '2', '3']);
  });

  for (final text in [
    '',
    'Echo Client',
    '{"book": []}',
    '1',
    'null',
    '["book", ["Ada"]]',
    '["book", ["Ada", 1]]',
    '["book", null]',
  ]) {
    test('$text is refused with a reason', () {
      expect(() => ServerMessage.parse(text), throwsFormatException);
    });
  }

  test('requests are JSON lists, whatever the name is', () {
    expect(addText(const Entry('Zoë "Z"', '+1')), r'["add","Zoë \"Z\"","+1"]');
    expect(removeText('Ada'), '["remove","Ada"]');
  });

  test('two lines are equal if they say the same', () {
    expect(const Entry('Ada', '1'), const Entry('Ada', '1'));
    expect(const Entry('Ada', '1'), isNot(const Entry('Ada', '2')));
    expect(const Entry('Ada', '1').hashCode, const Entry('Ada', '1').hashCode);
    expect('${const Entry('Ada', '1')}', 'Ada: 1');
  });
}
