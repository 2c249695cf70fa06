// What somebody who embeds lateforge does first: a model folder, encode, search, rank, and MaxSim on plain arrays.
// The folder is made here, from random weights, so that nothing has to be fetched.

const texts = [
  'late interaction keeps one vector for each token',
  'a single vector stands for the whole text',
  'oranges are rich in vitamin c',
  'the tram stops at the old harbour',
]

/** Numbers that must be the same wherever the same package runs. Leaves the model in `folder`. */
export async function embed({ Colbert, trainWordPiece }, { maxsim }, folder) {
  const tokenizer = await trainWordPiece(texts, { vocabSize: 160, minFrequency: 1 })
  const shape = { architecture: 'modernbert', layers: 2, width: 64, heads: 1, dim: 32, positions: 64 }
  const recipe = { queryLength: 16, documentLength: 32 }
  const made = await Colbert.create({ ...shape, tokenizer, recipe }, { seed: 7 })
  await made.save(folder)
  made.dispose()

  const model = await Colbert.load(folder)
  const documents = await model.encodeDocuments(texts)
  const queries = await model.encodeQueries(['a vector for each token', 'vitamin c'])
  const hits = await model.search(queries, documents, { topK: 3 })
  const ranked = await model.rank('the old harbour', texts, { topK: 4 })
  const scores = await maxsim(queries, documents, { layout: 'all' })
  model.dispose()
  return {
    order: [...hits, ranked].map((list) => list.map((hit) => hit.index)),
    numbers: [...hits.flat(), ...ranked].map((hit) => hit.score).concat([...scores], [...queries.data.slice(0, 64)]),
  }
}
