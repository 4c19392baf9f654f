// From the handler string to a function: where the module is, how it is loaded, which of its members it is.

import fs from 'node:fs';
import module from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import {
    HandlerNotFound, ImportModuleError, MalformedHandlerName, MalformedStreamingHandler, UserCodeSyntaxError,
} from './errors.mjs';
import { installNodePath } from './node_path.mjs';
import { HttpResponseStream } from './response_stream.mjs';

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');
const FIRST_WITH_TYPESCRIPT = 24;

// "Cannot find module" names the file that asked: it is this one on AWS.
const require = module.createRequire(new URL('./index.mjs', import.meta.url));

// Developer guide, "Response streaming for Lambda functions": the global that marks streaming handlers.
export function offerStreaming() {
    if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
    globalThis.awslambda = {
        streamifyResponse(handler, options) {
            handler[STREAMING] = 'response';
            if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = Math.trunc(options.highWaterMark);
            return handler;
        },
        HttpResponseStream,
    };
}

export async function loadHandler(root, text, major) {
    if (text.includes('..')) {
        throw new MalformedHandlerName(
            `'${text}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
        );
    }
    const base = path.basename(text);
    const folder = text.slice(0, text.indexOf(base));
    const match = /^([^.]*)\.(.*)$/.exec(base);
    if (!match) throw new MalformedHandlerName('Bad handler');
    const [, name, members] = match;
    const loaded = await loadModule(root, folder, name, major).catch((error) => {
        throw explainLoadError(error);
    });
    const find = (object) => members.split('.').reduce((found, key) => found && found[key], object);
    const handler = find(loaded) ?? (major >= FIRST_WITH_TYPESCRIPT ? find(loaded?.default) : undefined);
    if (!handler) throw new HandlerNotFound(`${text} is undefined or not exported`);
    if (typeof handler !== 'function') throw new HandlerNotFound(`${text} is not a function`);
    return handler;
}

export function describeHandler(handler) {
    const streaming = handler[STREAMING];
    if (streaming && streaming !== 'response') {
        throw new MalformedStreamingHandler('Only response streaming is supported.');
    }
    return {
        isStreaming: Boolean(streaming),
        highWaterMark: handler[HIGH_WATER_MARK],
        isAsync: handler.constructor?.name === 'AsyncFunction',
        argumentCount: handler.length,
    };
}

function explainLoadError(error) {
    if (error instanceof SyntaxError) return new UserCodeSyntaxError(error);
    return error?.code === 'MODULE_NOT_FOUND' ? new ImportModuleError(error) : error;
}

async function loadModule(root, folder, name, major) {
    const file = path.resolve(root, folder, name);
    const isModuleFolder = hasModulePackage(path.dirname(file));
    installNodePath({ isModule: false });
    const asModule = (found) => {
        installNodePath({ isModule: true });
        return import(pathToFileURL(found).href);
    };
    const attempts = [
        ['', require],
        ['.js', isModuleFolder ? asModule : require],
        ['.mjs', asModule],
        ['.cjs', require],
    ];
    if (major >= FIRST_WITH_TYPESCRIPT) {
        attempts.push(['.ts', isModuleFolder ? asModule : require], ['.mts', asModule], ['.cts', require]);
    }
    for (const [extension, load] of attempts) {
        if (fs.existsSync(file + extension) && (extension || fs.statSync(file).isFile())) return load(file + extension);
    }
    return require(require.resolve(name, { paths: [root, path.resolve(root, folder)] }));
}

// The nearest package.json decides, node_modules and the root end the search.
function hasModulePackage(folder) {
    if (folder.endsWith('/node_modules')) return false;
    const file = path.join(folder, 'package.json');
    if (fs.existsSync(file)) {
        try {
            return JSON.parse(fs.readFileSync(file, 'utf8'))?.type === 'module';
        } catch (error) {
            console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
            return false;
        }
    }
    return folder !== '/' && hasModulePackage(path.dirname(folder));
}
