import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Nodes, rootNode } from './nodes.ts'

test('a renamed folder takes what is below it along', () => {
  const nodes = new Nodes('/back')
  const folder = nodes.remember(rootNode, 'a')
  const file = nodes.remember(folder, 'f')
  const other = nodes.remember(rootNode, 'b')
  assert.equal(nodes.path(file), '/back/a/f')
  nodes.renamed(rootNode, 'a', other, 'c')
  assert.equal(nodes.path(file), '/back/b/c/f')
})

test('an unlinked node has no path, and its name is free for another', () => {
  const nodes = new Nodes('/back')
  const file = nodes.remember(rootNode, 'f')
  nodes.unlinked(rootNode, 'f')
  assert.equal(nodes.path(file), undefined)
  assert.notEqual(nodes.remember(rootNode, 'f'), file)
})

test('a rename over a file leaves the old one without a path', () => {
  const nodes = new Nodes('/back')
  const old = nodes.remember(rootNode, 'disk')
  const fresh = nodes.remember(rootNode, '.disk.tmp')
  nodes.renamed(rootNode, '.disk.tmp', rootNode, 'disk')
  assert.equal(nodes.path(old), undefined)
  assert.equal(nodes.path(fresh), '/back/disk')
})

test('a node is forgotten when the kernel has given back every look at it', () => {
  const nodes = new Nodes('/back')
  const file = nodes.remember(rootNode, 'f')
  assert.equal(nodes.remember(rootNode, 'f'), file)
  nodes.forget(file, 1)
  assert.equal(nodes.path(file), '/back/f')
  nodes.forget(file, 1)
  assert.equal(nodes.path(file), undefined)
})
