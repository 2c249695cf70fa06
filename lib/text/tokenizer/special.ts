/** What a special token is for, as tokenizer_config.json names it before `_token`. */
export type SpecialName = 'cls' | 'sep' | 'mask' | 'pad' | 'unk' | 'eos' | 'bos'
/** How they are usually spelled, for a tokenizer whose config does not say. */
export const conventionalTokens: Readonly<Record<SpecialName, readonly string[]>> = {
  cls: ['[CLS]', '<s>'],
  sep: ['[SEP]', '</s>'],
  mask: ['[MASK]', '<mask>'],
  pad: ['[PAD]', '<pad>'],
  unk: ['[UNK]', '<unk>'],
  eos: ['</s>', '<|endoftext|>'],
  bos: ['<s>'],
}
export const specialNames = Object.keys(conventionalTokens) as SpecialName[]

/** What is read of a tokenizer.json's post-processor. */
export interface PostProcessor {
  type?: string
  single?: { SpecialToken?: { id: string } }[]
  cls?: [string, number]
  sep?: [string, number]
  processors?: PostProcessor[]
}

/** Special tokens around sequence A, from any of the post-processors that add some. */
export function templateTokens(processor: PostProcessor | null): { leading: string[]; trailing: string[] } {
  const leading: string[] = []
  const trailing: string[] = []
  const { type, single = [], cls, sep, processors = [] } = processor ?? {}
  if (type === 'TemplateProcessing') {
    let before = true
    for (const { SpecialToken: special } of single) {
      if (special === undefined) before = false
      else (before ? leading : trailing).push(special.id)
    }
  } else if (type === 'BertProcessing' || type === 'RobertaProcessing') {
    leading.push(cls![0])
    trailing.push(sep![0])
  } else if (type === 'Sequence') {
    for (const inner of processors) {
      const tokens = templateTokens(inner)
      leading.unshift(...tokens.leading)
      trailing.push(...tokens.trailing)
    }
  } else if (processor !== null && type !== 'ByteLevel') {
    throw new Error(`the post-processor ${JSON.stringify(type)} is not known`)
  }
  return { leading, trailing }
}
