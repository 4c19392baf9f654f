"""GetAccountSettings: the limits of the account, and what it uses, counted now."""

from lambent.control.built import require_built
from lambent.control.quotas import AccountQuotas
from lambent.control.records import FunctionRecords
from lambent.model.requests import Members, RequestContext


class AccountCommands:
    """What concerns the account as a whole."""

    def __init__(self, records: FunctionRecords, quotas: AccountQuotas) -> None:
        self._records = records
        self._quotas = quotas

    async def get_settings(self, ctx: RequestContext, members: Members) -> Members:
        """GetAccountSettings."""
        require_built("GetAccountSettings", members)
        quotas, count, code_bytes = self._quotas, 0, 0
        async for spec in self._records.specs(ctx.scope):
            count += spec.publication is None
            code_bytes += spec.code.zip_bytes
        plan, _ = await self._records.find_plan(ctx.scope)
        return {
            "AccountLimit": {
                "TotalCodeSize": quotas.total_code_size_bytes,
                "CodeSizeUnzipped": quotas.code_size_unzipped_bytes,
                "CodeSizeZipped": quotas.code_size_zipped_bytes,
                "ConcurrentExecutions": quotas.concurrent_executions,
                "UnreservedConcurrentExecutions": plan.unreserved(quotas.concurrent_executions),
            },
            "AccountUsage": {"TotalCodeSize": code_bytes, "FunctionCount": count},
        }
