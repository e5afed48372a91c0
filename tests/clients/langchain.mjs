// LangChain's chat model for OpenAI-like servers, which n8n's node and Flowise are made of. Prints what came of it as JSON.
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'

const { address, question, story, written } = JSON.parse(process.argv[2])
const configuration = { baseURL: `${address}/v1` }
const chat = (model, more = {}) => new ChatOpenAI({ model, apiKey: 'none', maxRetries: 0, configuration, ...more })

const answer = await chat('metier').invoke(question)

const told = []
let usage
for await (const part of await chat('metier/writer').stream(story)) {
  if (part.content) told.push(part.content)
  usage = part.usage_metadata ?? usage
}

const schema = {
  title: 'lease',
  type: 'object',
  properties: { end: { type: 'string' } },
  required: ['end'],
  additionalProperties: false,
}
const structured = await chat('metier/writer').withStructuredOutput(schema, { method: 'jsonSchema' }).invoke(written)

const weather = {
  type: 'function',
  function: { name: 'weather', description: 'Tells the weather.', parameters: { type: 'object', properties: {} } },
}
const withTools = await chat('metier').bindTools([weather]).invoke(question)

const responses = await chat('metier', { useResponsesApi: true }).invoke(question)

const embeddings = new OpenAIEmbeddings({ model: 'metier', apiKey: 'none', maxRetries: 0, configuration })
const vector = await embeddings.embedQuery(question)

let failed
try {
  await chat('gpt-5').invoke(question)
} catch (error) {
  failed = { status: error.status, message: error.message }
}

console.log(
  JSON.stringify({
    text: answer.content,
    model: answer.response_metadata.model_name,
    usage: answer.usage_metadata,
    told,
    toldUsage: usage,
    structured,
    withTools: withTools.content,
    called: withTools.tool_calls,
    responses: responses.text,
    dimension: vector.length,
    failed,
  }),
)
