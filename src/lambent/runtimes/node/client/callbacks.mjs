// The loop up to Node.js 22: a handler may return a promise, call its third argument, or use context.done and its kin;
// a result given by callback waits until nothing is left to do, unless the context says otherwise.

import { enterInvocation } from './context.mjs';
import { NodeJsExit } from './errors.mjs';
import { runStreaming } from './streaming.mjs';

const DEPRECATION =
    'AWS Lambda plans to remove support for callback-based function handlers starting with Node.js 24. You will need to ' +
    'update this function to use an async handler to use Node.js 24 or later. For more information and to provide ' +
    'feedback on this change, see https://github.com/aws/aws-lambda-nodejs-runtime-interface-client/issues/137. To ' +
    'disable this warning, set the AWS_LAMBDA_NODEJS_DISABLE_CALLBACK_WARNING environment variable.';

export function serveWithCallbacks(parts) {
    const { kind } = parts;
    if (
        kind.argumentCount === 3 && !kind.isAsync && !kind.isStreaming &&
        process.env.AWS_LAMBDA_NODEJS_DISABLE_CALLBACK_WARNING === undefined
    ) {
        console.warn(DEPRECATION);
    }
    // What happens when nothing is left to do; a running invocation decides.
    const idle = { act: () => undefined };
    process.on('beforeExit', () => {
        const { act } = idle;
        idle.act = () => undefined;
        act();
    });
    const serveNext = () => {
        idle.act = () => undefined;
        setImmediate(async () => {
            const invocation = await parts.api.nextInvocation();
            parts.faults.requestId = invocation.requestId;
            if (kind.isStreaming) await serveStreaming(parts, invocation, idle, serveNext);
            else serveOne(parts, invocation, idle, serveNext);
        });
    };
    serveNext();
}

async function serveStreaming(parts, invocation, idle, serveNext) {
    const waiting = { isOn: true };
    await runStreaming(parts, invocation, () => addWaitingFlag(enterInvocation(invocation), waiting));
    if (waiting.isOn) idle.act = serveNext;
    else serveNext();
}

function serveOne({ api, handler, kind, logError }, invocation, idle, serveNext) {
    const { requestId } = invocation;
    const waiting = { isOn: true };
    let isDone = false;

    const fail = async (error) => {
        logError('Invoke Error', error);
        await api.postError(requestId, error);
        serveNext();
    };
    const succeed = async (result) => {
        let sent;
        try {
            sent = api.postResponse(requestId, result);
        } catch {
            await fail(new Error('Unable to stringify response body'));
            return;
        }
        await sent;
        serveNext();
    };
    const once = (act) => (...values) => {
        if (isDone) return;
        isDone = true;
        idle.act = () => undefined;
        act(...values);
    };
    const isError = (error) => error !== undefined && error !== null;

    const callback = once((error, result) => {
        if (isError(error)) fail(error);
        else if (!waiting.isOn) succeed(result);
        else idle.act = () => setImmediate(() => succeed(result));
    });
    const done = once((error, result) => (isError(error) ? fail(error) : succeed(result)));
    const context = {
        succeed: (result) => done(null, result),
        fail: (error) => done(isError(error) ? error : 'handled'),
        done,
    };

    // Nothing left to do and nobody answered: a promise that never settles, or a callback that was forgotten.
    idle.act = once(() => (kind.isAsync ? fail(new NodeJsExit()) : succeed(null)));
    try {
        addWaitingFlag(context, waiting);
        const outcome = handler(
            JSON.parse(invocation.body), Object.assign(context, enterInvocation(invocation)), callback,
        );
        if (typeof outcome?.then === 'function') outcome.then(context.succeed, context.fail);
    } catch (error) {
        callback(error);
    }
}

function addWaitingFlag(context, waiting) {
    return Object.defineProperty(context, 'callbackWaitsForEmptyEventLoop', {
        enumerable: true,
        configurable: true,
        get: () => waiting.isOn,
        set: (value) => {
            waiting.isOn = value;
        },
    });
}
