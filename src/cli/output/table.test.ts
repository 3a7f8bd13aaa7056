import assert from 'node:assert/strict'
import { test } from 'node:test'
import { displayWidth } from '../terminal.ts'
import { factsText, tableText, type Column } from './table.ts'

interface Row {
  name: string
  size: string
}
const columns: Column<Row>[] = [
  { title: 'NAME', value: (row) => row.name, shrinkTo: 4 },
  { title: 'SIZE', value: (row) => row.size, align: 'right' },
]

test('columns are aligned, numbers to the right, and no line ends in spaces', () => {
  const rows = [
    { name: 'a', size: '1' },
    { name: 'longer', size: '1000' },
  ]
  assert.equal(tableText(columns, rows), 'NAME    SIZE\na          1\nlonger  1000\n')
})

test('a narrow terminal cuts the flexible column and no line is wider', () => {
  const text = tableText(columns, [{ name: 'a-very-long-name', size: '1000' }], { maxColumns: 14 })
  assert.equal(text, 'NAME      SIZE\na-very-…  1000\n')
})

test('without a terminal nothing is cut', () => {
  const name = 'x'.repeat(300)
  assert.ok(tableText(columns, [{ name, size: '1' }]).includes(name))
})

test('a column is never cut below what it says of itself', () => {
  const text = tableText(columns, [{ name: 'abcdefgh', size: '1000' }], { maxColumns: 3 })
  assert.equal(text, 'NAME  SIZE\nabc…  1000\n')
})

test('control characters in names cannot drive the terminal', () => {
  const text = tableText(columns, [{ name: '\u001b[2Jx\ny', size: '1' }])
  assert.equal(text.split('\n').length, 3)
  assert.ok(!text.includes('\u001b'))
})

test('wide characters take two columns', () => {
  assert.equal(displayWidth('日本'), 4)
  assert.equal(tableText(columns, [{ name: '日本語', size: '1' }]), 'NAME    SIZE\n日本語     1\n')
})

test('facts are aligned, what is unknown is left out, further lines are indented', () => {
  assert.equal(
    factsText([
      ['a', '1'],
      ['long', 'x\ny'],
      ['none', undefined],
    ]),
    'a     1\nlong  x\n      y\n',
  )
})
