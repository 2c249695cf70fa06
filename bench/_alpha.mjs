import { readFileSync } from 'node:fs'
import { deserialize } from 'node:v8'
import { Index } from 'lateforge/index'
const [folder, asking, ...ways] = process.argv.slice(2)
const sets = deserialize(readFileSync(asking))
const index = await Index.open(folder)
const p=()=>(process.cpuUsage().user+process.cpuUsage().system)/1000
const info=await index.info(); console.log(info.documents, info.tokens, info.segments, 'ALPHA', process.env.ALPHA)
const exact=[]; for(const {queries} of sets){const l=[];for(const q of queries)l.push((await index.search(q,{topK:10,exact:true}))[0]);exact.push(l)}
for(const w of ways){const [probes,candidates]=w.split('/').map(Number);const line=[];const t=p();let n=0
for(const [s,{name,queries}] of sets.entries()){let same=0,all=0;for(const [i,q] of queries.entries()){n++;const [h]=await index.search(q,{topK:10,probes,candidates});same+=h.filter(({score})=>score>=exact[s][i].at(-1).score).length;all+=exact[s][i].length}line.push(name+' '+(same/all).toFixed(4))}
console.log(w,((p()-t)/n).toFixed(1)+' ms',line.join('  '))}
