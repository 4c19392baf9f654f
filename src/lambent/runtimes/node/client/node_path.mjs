// NODE_PATH for ES modules, as AWS's runtime has it: so `import` finds layers and the SDK in /var/runtime.
// Node.js itself honours it for require alone.

import module from 'node:module';
import { pathToFileURL } from 'node:url';

const HOOK = `
const parents = PARENTS;
export async function resolve(specifier, context, next) {
    try {
        return await next(specifier, context);
    } catch (error) {
        if (error?.code !== 'ERR_MODULE_NOT_FOUND' || /^([./]|[a-z]+:)/i.test(specifier)) throw error;
        for (const parentURL of parents) {
            try {
                return await next(specifier, { ...context, parentURL });
            } catch {}
        }
        throw error;
    }
}`;

let isInstalled = false;

// Where hooks are cheap (from 22.15) they are for every import, elsewhere for functions that are ES modules themselves.
export function installNodePath({ isModule }) {
    if (isInstalled || !(module.registerHooks || (isModule && module.register))) return;
    isInstalled = true;
    const parents = (process.env.NODE_PATH ?? '')
        .split(':')
        .filter((folder) => folder.endsWith('/node_modules'))
        .map((folder) => pathToFileURL(`${folder.slice(0, -'node_modules'.length)}asks.mjs`).href);
    if (module.registerHooks) {
        module.registerHooks({ resolve: resolver(parents) });
    } else {
        const source = HOOK.replace('PARENTS', JSON.stringify(parents));
        module.register(`data:text/javascript,${encodeURIComponent(source)}`);
    }
}

function resolver(parents) {
    return (specifier, context, next) => {
        try {
            return next(specifier, context);
        } catch (error) {
            const isMissing = ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'].includes(error?.code);
            if (!isMissing || /^([./]|[a-z]+:)/i.test(specifier)) throw error;
            for (const parentURL of parents) {
                try {
                    return next(specifier, { ...context, parentURL });
                } catch {
                    // the next folder may have it
                }
            }
            throw error;
        }
    };
}
