// What a streaming handler writes to, and how its end reaches the Runtime API.

import { Writable } from 'node:stream';

import { errorBody, InvalidStreamingOperation } from './errors.mjs';
import { errorHeaders } from './runtime_api.mjs';

export class ResponseStream extends Writable {
    #api;
    #requestId;
    #request;
    #contentType = 'application/octet-stream';
    #hasWritten = false;
    #settle;
    #closed;
    answered; // resolves when the Runtime API took the whole response

    constructor(api, requestId, highWaterMark) {
        super({ highWaterMark });
        this.#api = api;
        this.#requestId = requestId;
        this.answered = new Promise((resolve, reject) => {
            this.#settle = { resolve, reject };
        });
        this.answered.catch(() => undefined);
        this.on('error', this.#settle.reject);
    }

    setContentType(contentType) {
        if (this.#hasWritten) throw new InvalidStreamingOperation('Cannot set content-type, too late.');
        this.#contentType = contentType;
    }

    write(chunk, encoding, callback) {
        const isPlain = typeof chunk === 'string' || chunk instanceof Uint8Array;
        if (!this.#hasWritten) {
            this.#hasWritten = true;
            this._onBeforeFirstWrite?.((first) => super.write(first));
        }
        return super.write(isPlain ? chunk : JSON.stringify(chunk), encoding, callback);
    }

    end(chunk, encoding, callback) {
        if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') {
            this.write(chunk, encoding);
            return super.end(callback);
        }
        return super.end(typeof chunk === 'function' ? chunk : callback);
    }

    // Ends the response with an error; what was written before it stands.
    async fail(thrown) {
        const body = errorBody(thrown);
        this.#open().addTrailers({
            ...errorHeaders(body),
            'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(body)).toString('base64'),
        });
        if (this.writableEnded || this.destroyed) this.#request.end();
        else this.end();
        await this.#closed;
    }

    _write(chunk, encoding, callback) {
        this.#open().write(chunk, encoding, callback);
    }

    _final(callback) {
        this.#open().end(callback);
    }

    #open() {
        if (!this.#request) {
            this.#request = this.#api.openStream(this.#requestId, this.#contentType, this.#settle.resolve);
            this.#request.on('error', (error) => this.destroy(error));
            this.#closed = new Promise((resolve) => this.#request.once('close', resolve));
        }
        return this.#request;
    }
}

// Developer guide, "Invoking a response streaming enabled function using function URLs": status, headers and cookies as
// JSON, then eight zero bytes, then the body.
export class HttpResponseStream {
    static from(stream, prelude) {
        stream.setContentType('application/vnd.awslambda.http-integration-response');
        const metadata = JSON.stringify(prelude);
        stream._onBeforeFirstWrite = (write) => {
            write(metadata);
            write(new Uint8Array(8));
        };
        return stream;
    }
}
