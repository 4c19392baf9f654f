// console.* as AWS's runtime has it: lines with time, request id and level, as text or JSON, to stdout or as frames.

import { writeSync } from 'node:fs';
import { format } from 'node:util';

import { errorLogText } from './errors.mjs';

// Developer guide, "Log-level filtering". Masks are those of the frames' first word.
const LEVELS = {
    TRACE: { name: 'TRACE', rank: 1, mask: 0x04 },
    DEBUG: { name: 'DEBUG', rank: 2, mask: 0x08 },
    INFO: { name: 'INFO', rank: 3, mask: 0x0c },
    WARN: { name: 'WARN', rank: 4, mask: 0x10 },
    ERROR: { name: 'ERROR', rank: 5, mask: 0x14 },
    FATAL: { name: 'FATAL', rank: 6, mask: 0x18 },
};
const TEXT_FRAME = 0xa55a0003;
const JSON_FRAME = 0xa55a0002;

const current = { requestId: undefined, tenantId: undefined };

export function setLogContext(requestId, tenantId) {
    current.requestId = requestId;
    current.tenantId = tenantId;
}

export function patchConsole() {
    const isJson = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
    const lowest = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;
    const write = chooseWriter(isJson);
    const render = isJson ? renderJson : renderText;
    const at = (level) => {
        if (level.rank < lowest.rank) return () => {};
        return (...values) => {
            const now = new Date();
            write(level, now, render(level, now, values));
        };
    };
    console.trace = at(LEVELS.TRACE);
    console.debug = at(LEVELS.DEBUG);
    console.info = console.log = at(LEVELS.INFO);
    console.warn = at(LEVELS.WARN);
    console.error = at(LEVELS.ERROR);
    console.fatal = at(LEVELS.FATAL);
    const logError = (what, thrown) => {
        const error = thrown instanceof Error ? thrown : new Error(thrown);
        if (isJson) console.error(error);
        else console.error(what, errorLogText(error));
    };
    return { logError };
}

function chooseWriter(isJson) {
    const fd = Number.parseInt(process.env._LAMBDA_TELEMETRY_LOG_FD, 10);
    delete process.env._LAMBDA_TELEMETRY_LOG_FD;
    if (Number.isNaN(fd)) {
        // One line is one event there, so a message keeps to one line.
        return (_level, _now, text) => process.stdout.write(`${text.replace(/\n/g, '\r')}\n`);
    }
    return (level, now, text) => writeFrame(fd, (isJson ? JSON_FRAME : TEXT_FRAME) | level.mask, now, isJson ? text : `${text}\n`);
}

function writeFrame(fd, type, now, text) {
    const message = Buffer.from(text, 'utf8');
    const frame = Buffer.alloc(16 + message.length);
    frame.writeUInt32BE(type >>> 0, 0);
    frame.writeUInt32BE(message.length, 4);
    frame.writeBigUInt64BE(BigInt(now.valueOf()) * 1000n, 8);
    message.copy(frame, 16);
    let written = 0;
    while (written < frame.length) written += writeSync(fd, frame, written);
}

function renderText(level, now, values) {
    return `${now.toISOString()}\t${current.requestId}\t${level.name}\t${format(...values)}`;
}

function renderJson(level, now, values) {
    const line = { timestamp: now.toISOString(), level: level.name, requestId: current.requestId };
    if (current.tenantId) line.tenantId = current.tenantId;
    if (values.length === 1) {
        try {
            return JSON.stringify({ ...line, message: values[0] }, spreadErrors);
        } catch {
            return JSON.stringify({ ...line, message: format(values[0]) });
        }
    }
    line.message = format(...values);
    const error = values.find((value) => value instanceof Error);
    if (error) {
        line.errorType = error.constructor?.name ?? 'UnknownError';
        line.errorMessage = error.message;
        line.stackTrace = typeof error.stack === 'string' ? error.stack.split('\n') : [];
    }
    return JSON.stringify(line);
}

function spreadErrors(_key, value) {
    if (!(value instanceof Error)) return value;
    return {
        errorType: value.constructor?.name ?? 'UnknownError',
        errorMessage: value.message,
        stackTrace: typeof value.stack === 'string' ? value.stack.split('\n') : value.stack,
        ...value,
    };
}
