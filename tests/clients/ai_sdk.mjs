// The AI SDK with its adapter for OpenAI-like servers. Prints what came of it as JSON; argument: address and questions.
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embed, generateText, jsonSchema, Output, streamText } from 'ai'

globalThis.AI_SDK_LOG_WARNINGS = false
const { address, question, story, written } = JSON.parse(process.argv[2])
const metier = createOpenAICompatible({
  name: 'metier',
  baseURL: `${address}/v1`,
  apiKey: 'none',
  includeUsage: true,
  supportsStructuredOutputs: true,
  metadataExtractor: {
    extractMetadata: async ({ parsedBody }) => ({ metier: parsedBody.metier }),
    createStreamExtractor: () => ({ processChunk() {}, buildMetadata: () => undefined }),
  },
})

const answer = await generateText({ model: metier('metier'), prompt: question, maxRetries: 0 })

const told = []
const stream = streamText({ model: metier('metier/writer'), prompt: story, maxRetries: 0 })
for await (const part of stream.textStream) told.push(part)

const thought = streamText({ model: metier('metier'), prompt: question, maxRetries: 0 })
const draft = await thought.reasoningText

const lease = jsonSchema({ type: 'object', properties: { end: { type: 'string' } }, required: ['end'] })
const structured = await generateText({
  model: metier('metier/writer'),
  prompt: written,
  output: Output.object({ schema: lease }),
  maxRetries: 0,
})

const vector = await embed({ model: metier.embeddingModel('metier'), value: question, maxRetries: 0 })

const leave = new AbortController()
let heard = 0
const long = streamText({
  model: metier('metier/writer'),
  prompt: 'write on and on',
  abortSignal: leave.signal,
  maxRetries: 0,
})
for await (const _ of long.textStream) if (++heard === 3) leave.abort()

let failed
try {
  await generateText({ model: metier('gpt-5'), prompt: question, maxRetries: 0 })
} catch (error) {
  failed = { status: error.statusCode, message: error.message, retryable: error.isRetryable }
}

console.log(
  JSON.stringify({
    text: answer.text,
    model: answer.response.modelId,
    finished: answer.finishReason,
    usage: answer.usage,
    specialist: answer.providerMetadata.metier.specialist,
    told,
    toldUsage: await stream.usage,
    draft,
    quote: await thought.text,
    structured: structured.output,
    dimension: vector.embedding.length,
    heard,
    failed,
  }),
)
