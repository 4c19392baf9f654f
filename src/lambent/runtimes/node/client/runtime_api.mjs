// The Runtime API's client side. While it waits for an event its connection keeps the process alive, while a handler runs
// it does not.

import http from 'node:http';

import { errorBody, JSONStringifyError, xrayCause } from './errors.mjs';

const PREFIX = '/2018-06-01/runtime';
const CAUSE_LIMIT_BYTES = 64 * 1024; // beyond it the platform compacts; the stack is in the body anyway

export class RuntimeApi {
    #host;
    #port;
    #agent = new http.Agent({ keepAlive: true, noDelay: true });
    #invocationIds = new Map();

    constructor(address) {
        [this.#host, this.#port] = address.split(':');
    }

    async nextInvocation() {
        const { headers, body } = await this.#send('GET', '/invocation/next');
        const requestId = headers['lambda-runtime-aws-request-id'];
        this.#invocationIds.clear();
        // Developer guide, "Runtime API": the attempt's own id, given back with the answer.
        if (headers['lambda-runtime-invocation-id']) {
            this.#invocationIds.set(requestId, headers['lambda-runtime-invocation-id']);
        }
        return { requestId, headers, body };
    }

    postResponse(requestId, result) {
        return this.#send('POST', `/invocation/${requestId}/response`, this.#headers(requestId), stringify(result));
    }

    postError(requestId, error) {
        const body = errorBody(error);
        const headers = { ...this.#headers(requestId), ...errorHeaders(body) };
        const cause = toAscii(xrayCause(error));
        if (cause && cause.length <= CAUSE_LIMIT_BYTES) headers['Lambda-Runtime-Function-XRay-Error-Cause'] = cause;
        return this.#send('POST', `/invocation/${requestId}/error`, headers, stringify(body));
    }

    postInitError(error) {
        const body = errorBody(error);
        return this.#send('POST', '/init/error', errorHeaders(body), stringify(body));
    }

    // Returns an open request for a streamed response; the caller writes, ends, and may add trailers.
    openStream(requestId, contentType, onResponse) {
        const options = this.#options('POST', `/invocation/${requestId}/response`, {
            ...this.#headers(requestId),
            'Content-Type': contentType,
            'Lambda-Runtime-Function-Response-Mode': 'streaming',
            'Transfer-Encoding': 'chunked',
            Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
        });
        return http.request(options, (response) => response.resume().on('end', onResponse));
    }

    #headers(requestId) {
        const id = this.#invocationIds.get(requestId);
        return id ? { 'Lambda-Runtime-Invocation-Id': id } : {};
    }

    #options(method, path, headers) {
        return { host: this.#host, port: this.#port, agent: this.#agent, method, path: PREFIX + path, headers };
    }

    #send(method, path, headers = {}, text = undefined) {
        const content = text === undefined ? undefined : Buffer.from(text, 'utf8');
        const all = content ? { 'Content-Type': 'application/json', 'Content-Length': content.length, ...headers } : headers;
        return new Promise((resolve, reject) => {
            const request = http.request(this.#options(method, path, all), (response) => {
                const chunks = [];
                response.on('data', (chunk) => chunks.push(chunk));
                response.on('error', reject);
                response.on('end', () => {
                    resolve({ headers: response.headers, body: Buffer.concat(chunks).toString('utf8') });
                });
            });
            request.on('error', reject);
            request.end(content);
        });
    }
}

export function stringify(value) {
    try {
        return JSON.stringify(value === undefined ? null : value) ?? 'null';
    } catch {
        throw new JSONStringifyError();
    }
}

export function errorHeaders(body) {
    return { 'Lambda-Runtime-Function-Error-Type': toAscii(body.errorType).slice(0, 1024) };
}

// Headers carry printable ASCII; JSON may spell everything else as \uXXXX.
function toAscii(text) {
    return String(text).replace(/[^\x20-\x7e]/g, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
