// The context object, from the event's headers and the environment.

import { setLogContext } from './console.mjs';

// Makes everything that the event's headers say take effect; returns the function's view of it.
export function enterInvocation({ requestId, headers }) {
    setLogContext(requestId, headers['lambda-runtime-aws-tenant-id']);
    const trace = headers['lambda-runtime-trace-id'];
    if (trace) process.env._X_AMZN_TRACE_ID = trace;
    else delete process.env._X_AMZN_TRACE_ID;
    const deadlineMs = Number(headers['lambda-runtime-deadline-ms']);
    return {
        functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
        functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
        memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
        logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
        logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
        clientContext: parseHeader(headers['lambda-runtime-client-context'], 'ClientContext'),
        identity: parseHeader(headers['lambda-runtime-cognito-identity'], 'CognitoIdentity'),
        invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
        awsRequestId: requestId,
        tenantId: headers['lambda-runtime-aws-tenant-id'],
        getRemainingTimeInMillis: () => deadlineMs - Date.now(),
    };
}

function parseHeader(value, name) {
    if (value === undefined) return undefined;
    try {
        // Node.js reads headers as Latin-1; this one is UTF-8.
        return JSON.parse(Buffer.from(value, 'latin1').toString('utf8'));
    } catch (error) {
        throw new Error(`Cannot parse ${name} as json: ${error}`);
    }
}
