// The official AG-UI client. Prints what came of it as JSON; argument: address and questions.
import { buildResumeArray, HttpAgent } from '@ag-ui/client'

const { address, question, story } = JSON.parse(process.argv[2])

function newAgent(threadId) {
  return new HttpAgent({ url: `${address}/agui`, threadId })
}

async function ask(agent, content, parameters = {}) {
  const seen = []
  if (content) agent.addMessage({ id: crypto.randomUUID(), role: 'user', content })
  await agent.runAgent(parameters, { onEvent: ({ event }) => void seen.push(event) })
  return seen
}

const desk = newAgent('npm-desk')
const answered = await ask(desk, question)
const again = await ask(desk, 'And what is the rent of it?')

const writer = newAgent('npm-writer')
const written = await ask(writer, story, { forwardedProps: { specialist: 'writer' } })

const clerk = newAgent('npm-clerk')
await ask(clerk, 'pay(7)', { forwardedProps: { specialist: 'clerk' } })
const waiting = clerk.pendingInterrupts.map(({ message, metadata }) => ({ message, metadata }))
const yes = Object.fromEntries(
  clerk.pendingInterrupts.map(({ id }) => [id, { status: 'resolved', payload: { type: 'approve' } }]),
)
const paid = await ask(clerk, null, { resume: buildResumeArray(clerk.pendingInterrupts, yes) })

const named = (events, type) => events.filter((event) => event.type === type)
console.log(
  JSON.stringify({
    messages: desk.messages.map(({ role, content }) => ({ role, content })),
    subagents: named(answered, 'SUBAGENT_STARTED').map(({ name }) => name),
    custom: Object.fromEntries(named(answered, 'CUSTOM').map(({ name, value }) => [name, value])),
    again: again.at(-1).type,
    story: named(written, 'TEXT_MESSAGE_CONTENT').map(({ delta }) => delta),
    waiting,
    left: clerk.pendingInterrupts.length,
    tools: named(paid, 'TOOL_CALL_START').map(({ toolCallName }) => toolCallName),
    paid: clerk.messages.at(-1).content,
  }),
)
