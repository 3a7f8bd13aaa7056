/** Stands for the agent where a test is about the lab's world alone: says that it runs, and does nothing. */
console.log('idle', process.pid, process.argv.slice(2).join(' '))
setInterval(() => undefined, 60_000)
