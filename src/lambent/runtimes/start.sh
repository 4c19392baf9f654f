#!/bin/sh
# Started inside the sandbox as /var/runtime/bootstrap with the runtime's command line as arguments.
# Developer guide, "Modifying the runtime environment": a wrapper script gets that command line.
if [ "$1" = --node ]; then
    shift
    node=$1
    shift
    # V8 knows nothing of the sandbox's limit: nine tenths of the memory are for old objects, a twentieth for new ones.
    memory=${AWS_LAMBDA_FUNCTION_MEMORY_SIZE:-128}
    set -- "$node" "--max-old-space-size=$((memory * 9 / 10))" "--max-semi-space-size=$((memory / 20))" "$@"
fi
if [ -n "$AWS_LAMBDA_EXEC_WRAPPER" ]; then
    set -- "$AWS_LAMBDA_EXEC_WRAPPER" "$@"
fi
exec "$@"
