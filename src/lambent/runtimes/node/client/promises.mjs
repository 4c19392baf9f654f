// The loop for Node.js 24 and later: a handler returns its result or a promise of it, and nothing else counts.

import { enterInvocation } from './context.mjs';
import { runStreaming } from './streaming.mjs';

export async function servePromises(parts) {
    const { api, handler, kind, logError, faults } = parts;
    for (;;) {
        const invocation = await api.nextInvocation();
        faults.requestId = invocation.requestId;
        if (kind.isStreaming) {
            await runStreaming(parts, invocation, () => enterInvocation(invocation));
            continue;
        }
        try {
            const context = enterInvocation(invocation);
            const result = await handler(JSON.parse(invocation.body), context);
            await api.postResponse(invocation.requestId, result);
        } catch (error) {
            logError('Invoke Error', error);
            await api.postError(invocation.requestId, error);
        }
    }
}
