import * as lateforge from 'lateforge'
import * as scoring from 'lateforge/maxsim'
import { embed } from './embed.mjs'

console.log(JSON.stringify(await embed(lateforge, scoring, process.argv[2])))
