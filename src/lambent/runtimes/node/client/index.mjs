// Lambent's runtime client for Node.js, started inside the sandbox as /var/runtime/index.mjs.
// It finds the function's handler, asks the Runtime API for events and answers them, as AWS's own client does.

import { serveWithCallbacks } from './callbacks.mjs';
import { patchConsole } from './console.mjs';
import { CallbackHandlerDeprecated, UnhandledPromiseRejection } from './errors.mjs';
import { describeHandler, loadHandler, offerStreaming } from './handler.mjs';
import { servePromises } from './promises.mjs';
import { RuntimeApi } from './runtime_api.mjs';
import { becomeFunction, isCell } from './stem_cell.mjs';

const FIRST_WITHOUT_CALLBACKS = 24;
const major = Number(process.versions.node.split('.')[0]);

// Started ahead of time, the function comes by descriptor 0.
const api = isCell() ? await becomeFunction() : new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API);
const { logError } = patchConsole();

// Before the first event a fault belongs to init, later to the invocation under way. Exit codes are AWS's.
const faults = { requestId: undefined };
async function report(error, exitCode) {
    const sent = faults.requestId ? api.postError(faults.requestId, error) : api.postInitError(error);
    await sent.catch(() => undefined);
    process.exit(exitCode);
}
process.on('uncaughtException', (error) => {
    logError('Uncaught Exception', error);
    report(error, 129);
});
process.on('unhandledRejection', (reason, promise) => {
    const error = new UnhandledPromiseRejection(reason, promise);
    logError('Unhandled Promise Rejection', error);
    report(error, 128);
});

offerStreaming();
const handler = await loadHandler(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER, major);
const kind = describeHandler(handler);

if (major < FIRST_WITHOUT_CALLBACKS) {
    serveWithCallbacks({ api, handler, kind, logError, faults });
} else {
    // Developer guide, "Define Lambda function handler in Node.js": callbacks ended with Node.js 24.
    if (kind.argumentCount >= 3 && !kind.isStreaming) throw new CallbackHandlerDeprecated();
    await servePromises({ api, handler, kind, logError, faults });
}
