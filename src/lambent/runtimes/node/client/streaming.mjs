// One invocation of a streaming handler, the same for every version of Node.js.

import { ResponseStream } from './response_stream.mjs';

// Returns when the response, or its error, is with the Runtime API.
export async function runStreaming({ api, handler, kind, logError }, invocation, makeContext) {
    const stream = new ResponseStream(api, invocation.requestId, kind.highWaterMark);
    const giveUp = () => stream.fail(new Error('Response stream is not finished.'));
    process.once('beforeExit', giveUp);
    try {
        const outcome = handler(JSON.parse(invocation.body), stream, makeContext());
        if (typeof outcome?.then !== 'function') throw new Error('Streaming does not support non-async handlers.');
        if ((await outcome) !== undefined) console.warn('Streaming handlers ignore return values.');
        await stream.answered;
    } catch (error) {
        logError('Invoke Error', error);
        await stream.fail(error);
    } finally {
        process.removeListener('beforeExit', giveUp);
    }
}
