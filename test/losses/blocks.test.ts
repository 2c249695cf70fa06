/** The ops that the contrastive loss is made of: blocks, ranks and places that are none. */
import t from 'tap'
import { Device, raw, Segments, scope, Tensor } from '../../lib/tensor/index.js'

const exact = Device.open('cpu-f64')

t.test('blocks that lie in no batch are refused', async (t) => {
  const before = exact.memory().tensors
  scope(() => {
    const scores = Tensor.from(exact, [1, 2, 3, 4, 5, 6], [3, 2])
    const logScale = Tensor.from(exact, [0])
    const segments = Segments.fromLengths(exact, [1, 1])
    const duplicates = Tensor.fromInt32(exact, Int32Array.of(0, 1, 2))
    const one = Segments.fromLengths(exact, [1, 1, 1])
    const stats = (firstRow: number, firstQuery: number, groups = one, q: Tensor | null = duplicates, d = q) =>
      raw.rowStats(scores, logScale, segments, groups, q, d, { firstRow, firstQuery, learned: 0 })
    t.same(stats(0, 1).shape, [3, 3])
    const bad = { code: /ERR_(SHAPE|ARGUMENT|DTYPE)/ }
    for (const [row, query] of [
      [1, 0],
      [0, 2],
      [-1, 0],
      [0, -1],
      [2 ** 62, 0],
      [0, 2 ** 40],
    ] as const)
      for (const q of [duplicates, null]) t.throws(() => stats(row, query, one, q), bad, `row ${row}, query ${query}`)
    const groupsOf = (...lengths: number[]) => Segments.fromLengths(exact, lengths)
    t.same(stats(0, 0, groupsOf(2, 1, 5), null).shape, [3, 3])
    t.same(stats(0, 1, groupsOf(4, 1, 1), null).shape, [3, 3])
    t.throws(() => stats(0, 0, groupsOf(1, 2, 1), null), /are not all documents of some/)
    t.throws(() => stats(0, 2, groupsOf(1, 2, 1), null), /are not all documents of some/)
    t.throws(() => stats(0, 0, groupsOf(1, 1, 0), null), /query 2 of the groups has no document/)
    t.throws(() => stats(0, 0, groupsOf(2), null), bad, 'rows of a batch of one')
    t.throws(() => stats(0, 0, groupsOf(2, 1, 1), duplicates), bad, 'ids of another number of documents')
    t.throws(() => stats(0, 0, groupsOf(1, 1, 1, 1), duplicates), bad, 'ids of another number of queries')
    t.throws(() => stats(0, 0, duplicates as never, null), bad, 'groups that are no segments')
    t.throws(() => stats(0, 0, one, duplicates, null), bad)
    const exclude = (guide: Tensor, positives: Tensor, firstQuery = 0) =>
      raw.excludeAbove(scores, guide, positives, one, { firstRow: 0, firstQuery, relative: 0, margin: 0 })
    t.throws(() => exclude(logScale, Tensor.from(exact, [1, 1, 1])), bad, 'scores of a guide of another shape')
    t.throws(() => exclude(scores, logScale), bad, 'positives of other rows')
    t.throws(() => exclude(scores, Tensor.from(exact, [1, 1, 1]), 2), bad, 'columns that are not there')
    for (const ranks of [0, -1, 2])
      t.throws(() => raw.combineStats(stats(0, 0), { ranks }), { code: 'ERR_SHAPE' }, `${ranks} ranks`)
    t.throws(() => raw.combineStats(scores, { ranks: 1 }), { code: 'ERR_SHAPE' }, 'no stats')
  })
  t.equal(exact.memory().tensors, before)
})
