const lateforge = require('lateforge')
const scoring = require('lateforge/maxsim')
const { embed } = require('./embed.mjs')

embed(lateforge, scoring, process.argv[2]).then((values) => console.log(JSON.stringify(values)))
