// Runs inside a prepared sandbox: the client is started and rehearsed before any function is known.
// Descriptor 0 is the channel to Lambent: out goes `ready`, in comes {"environ": …, "born": …}, once.

import fs from 'node:fs';

import { setLogContext } from './console.mjs';
import { enterInvocation } from './context.mjs';
import { RuntimeApi } from './runtime_api.mjs';

// What is called a few times is compiled when the function comes.
const REHEARSALS = 3;
const MESSAGE_LIMIT_BYTES = 1 << 16;

export function isCell() {
    return fs.fstatSync(0).isSocket();
}

// Returns a Runtime API client with an open connection, once this process is a function's.
export async function becomeFunction() {
    const started = { ...process.env };
    const api = new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API);
    for (let round = 0; round < REHEARSALS; round += 1) {
        const invocation = await api.nextInvocation();
        const context = enterInvocation(invocation);
        await api.postResponse(invocation.requestId, [JSON.parse(invocation.body), context.getRemainingTimeInMillis()]);
    }
    setLogContext(undefined, undefined);
    fs.writeSync(0, 'ready');
    const message = Buffer.alloc(MESSAGE_LIMIT_BYTES);
    const length = fs.readSync(0, message);
    if (!length) process.exit(0); // nobody has a use for it
    // A spawned function finds /dev/null there, and no channel to anybody: the lowest number is taken.
    fs.closeSync(0);
    fs.openSync('/dev/null', 'r+');
    takeOn(JSON.parse(message.toString('utf8', 0, length)), started);
    return api;
}

// Replaces every variable, but keeps what the start itself added: those a spawned process would have, too.
function takeOn({ environ, born }, started) {
    const added = Object.entries(started).filter(([name, value]) => born[name] !== value);
    for (const name of Object.keys(process.env)) delete process.env[name];
    const variables = { ...environ, ...Object.fromEntries(added) };
    for (const [name, value] of Object.entries(variables)) process.env[name] = value;
    showEnviron(variables);
    process.chdir(environ.LAMBDA_TASK_ROOT);
}

// /proc/self/environ tells of the new variables: where the old ones stood nothing points any more.
function showEnviron(variables) {
    const block = Buffer.from(Object.entries(variables).map(([name, value]) => `${name}=${value}\0`).join(''), 'utf8');
    try {
        const fields = fs.readFileSync('/proc/self/stat', 'latin1').split(') ').pop().split(' ');
        const [start, end] = [Number(fields[47]), Number(fields[48])]; // proc(5): env_start is field 50, counted from the pid
        if (block.length > end - start) return;
        const memory = fs.openSync('/proc/self/mem', 'r+');
        fs.writeSync(memory, Buffer.concat([block], end - start), 0, end - start, start);
        fs.closeSync(memory);
    } catch {
        // where /proc forbids it, the old ones stay, which are nobody's
    }
}
