// One published Node client, sending what it is told: `node send.cjs segment-node|rudder-node` < JSON.
'use strict'

function segment(sender, failed) {
  const { Analytics } = require('@segment/analytics-node')
  const client = new Analytics({
    writeKey: sender.key, host: sender.host, maxRetries: sender.retries ?? 2, flushInterval: 100,
  })
  client.on('error', (error) => failed.push(String(error.reason ?? error.code)))
  return {
    say: (call) => client[call.type](call),
    end: () => client.closeAndFlush({ timeout: 30000 }),
  }
}

function rudder(sender, failed) {
  const Analytics = require('@rudderstack/rudder-sdk-node')
  const client = new Analytics(sender.key, {
    dataPlaneUrl: sender.host, retryCount: sender.retries ?? 2, flushInterval: 100, logLevel: 'none', ...(sender.gzip === undefined ? {} : { gzip: sender.gzip }),
    errorHandler: (error) => failed.push(String(error)),
  })
  const told = []
  return {
    say: (call) => told.push(new Promise((done) => client[call.type](call, done))),
    end: () => Promise.all(told),
  }
}

async function main(name) {
  let text = ''
  for await (const part of process.stdin) text += part
  const failed = []
  const clients = JSON.parse(text).map((sender) => [(name === 'segment-node' ? segment : rudder)(sender, failed), sender.calls])
  for (const [client, calls] of clients) {
    for (const { timestamp, ...call } of calls) client.say(timestamp ? { ...call, timestamp: new Date(timestamp) } : call)
  }
  await Promise.all(clients.map(([client]) => client.end()))
  console.log(JSON.stringify({ failed }))
  process.exit(0)
}

main(process.argv[2])
