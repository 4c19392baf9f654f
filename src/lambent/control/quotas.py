"""AWS's limits and fixed lists of the control plane, as data. Each stands under its source."""

import re
from dataclasses import dataclass
from typing import Final

# Developer guide, "Lambda quotas".
TIMEOUT_LIMIT_S: Final = 900  # the service model's 5,400 are for managed instances
MEMORY_LIMIT_MIB: Final = 10_240  # the service model's 32,768 are for managed instances
ENVIRONMENT_LIMIT_BYTES: Final = 4_096  # measured on the compact JSON of the map
UNZIPPED_LIMIT_BYTES: Final = 262_144_000
TAGS_LIMIT: Final = 50
TAG_RESERVED_PREFIX: Final = "aws:"
# Developer guide, "Configuring reserved concurrency": what always stays for functions without a share.
UNRESERVED_MINIMUM: Final = 100
# Developer guide, "Lambda quotas": function resource-based policy.
POLICY_LIMIT_BYTES: Final = 20_480
# API reference, ListFunctions: "returns up to 50 items per call", whatever MaxItems says.
LIST_PAGE_LIMIT: Final = 50

# Developer guide, "Defined runtime environment variables", the reserved ones (2026).
RESERVED_VARIABLES: Final = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    }
)

# Developer guide, "SnapStart": Java 11 and later, Python 3.12 and later, .NET 8 and later.
SNAPSTART_RUNTIMES: Final = re.compile(r"java(1[1-9]|[2-9]\d)(\.\w+)?|python3\.(1[2-9]|[2-9]\d)|dotnet([89]|[1-9]\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountQuotas:
    """``AccountLimit`` of GetAccountSettings, and what stands behind it. AWS's values for an established account."""

    code_size_unzipped_bytes: int = UNZIPPED_LIMIT_BYTES
    code_size_zipped_bytes: int = 52_428_800
    concurrent_executions: int = 1_000
    total_code_size_bytes: int = 80_530_636_800
