import type { Recipe } from '../../text/recipe.js'
import type { ResolvedPhase } from './types.js'

/** What a phase changes of the recipe. */
export function recipeOf({ queryLength, documentLength, prompts }: ResolvedPhase): Partial<Recipe> {
  return {
    ...(queryLength !== undefined && { queryLength }),
    ...(documentLength !== undefined && { documentLength }),
    ...(prompts?.query !== undefined && { queryPrompt: prompts.query }),
    ...(prompts?.document !== undefined && { documentPrompt: prompts.document }),
  }
}
