import type { Tokenizer as Engine } from '@huggingface/tokenizers'
import { loadPackage } from '../../packages.js'

/** What we use of `@huggingface/tokenizers`; its own types leave all but the tokenizer out. */
interface Package {
  Tokenizer: typeof Engine
  ReplaceNormalizer: new (config: object) => { normalize(text: string): string }
  SplitPreTokenizer: new (config: object) => { pattern: RegExp | null }
}

/** The package, loaded when something of it is needed and not with the library. */
export function huggingFace(): Package {
  return loadPackage<Package>('@huggingface/tokenizers')
}
