// Errors that a runtime reports, and the shapes in which it reports any.

import { types } from 'node:util';

class RuntimeError extends Error {
    get name() {
        return `Runtime.${this.constructor.name}`;
    }
}
export class HandlerNotFound extends RuntimeError {}
export class MalformedHandlerName extends RuntimeError {}
export class MalformedStreamingHandler extends RuntimeError {}
export class InvalidStreamingOperation extends RuntimeError {}
export class ImportModuleError extends RuntimeError {}
export class UserCodeSyntaxError extends RuntimeError {
    constructor(cause) {
        super(String(cause));
        this.stack = cause.stack;
    }
}
export class UnhandledPromiseRejection extends RuntimeError {
    constructor(reason, promise) {
        super(String(reason));
        this.reason = reason;
        this.promise = promise;
    }
}
export class NodeJsExit extends RuntimeError {
    constructor() {
        super(
            'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a ' +
                'Promise that was never settled. For more information, see ' +
                'https://nodejs.org/docs/latest/api/process.html#exit-codes',
        );
    }
}
export class JSONStringifyError extends RuntimeError {
    constructor() {
        super('Unable to stringify response body');
    }
}
export class CallbackHandlerDeprecated extends RuntimeError {
    constructor() {
        super(
            'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You ' +
                'need to modify this function to use a supported handler signature to use Node.js 24 or later. For ' +
                'more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.',
        );
    }
}

function looksLikeError(value) {
    return ['name', 'message', 'stack'].every((member) => typeof value?.[member] === 'string' && value[member]);
}

// What the caller gets. Anything may be thrown, also objects whose members throw when read.
export function errorBody(error) {
    try {
        if (types.isNativeError(error) || looksLikeError(error)) {
            return { errorType: error.name, errorMessage: error.message, trace: String(error.stack).split('\n') };
        }
        return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
    } catch {
        return {
            errorType: 'handled',
            errorMessage:
                'callback called with Error argument, but there was a problem while retrieving one or more of its ' +
                'message, name, and stack',
        };
    }
}

// What stands behind "Invoke Error" in a text log: the error with what its author added, after a tab.
export function errorLogText(error) {
    const spread = (_key, value) => {
        if (!(value instanceof Error)) return value;
        const members = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
        if (typeof value.stack === 'string') members.stack = value.stack.split('\n');
        return members;
    };
    try {
        return `\t${JSON.stringify(error, spread)}`;
    } catch {
        return `\t${JSON.stringify(errorBody(error))}`;
    }
}

// The cause for X-Ray, as the header of the Runtime API takes it; empty when the error has no readable stack.
export function xrayCause(error) {
    try {
        const stack = String(error.stack ?? '').split('\n').slice(1).map(parseFrame);
        return JSON.stringify({
            working_directory: process.cwd(),
            exceptions: [{ type: error.name, message: error.message, stack }],
            paths: [...new Set(stack.map((frame) => frame.path))],
        });
    } catch {
        return '';
    }
}

function parseFrame(line) {
    const text = line.trim().replace(/^at /, '').replace(/[()]/g, '');
    const space = text.lastIndexOf(' ');
    const [path, lineNumber] = text.slice(space + 1).replace(/^file:\/\//, '').split(':');
    return { path, line: Number.parseInt(lineNumber, 10), label: text.slice(0, Math.max(space, 0)) || 'anonymous' };
}
