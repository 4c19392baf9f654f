"""All commands of the functions API, wired together once."""

from lambent.control.account import AccountCommands
from lambent.control.answers import Answers
from lambent.control.code import CodeSource
from lambent.control.configuration import ConfigurationRules
from lambent.control.functions import FunctionCommands
from lambent.control.quotas import AccountQuotas
from lambent.control.records import FunctionRecords
from lambent.control.seams import Applied, LocationSigner, ObjectSource, PackageStore, RuntimeRules, Sealer
from lambent.control.tags import TagCommands
from lambent.control.variables import VariableVault
from lambent.model.clock import Clock
from lambent.model.requests import Commands
from lambent.store.contract import Documents


class LambdaCommands:
    """Builds the commands of Lambda's API that concern functions, their tags and the account."""

    def __init__(
        self,
        *,
        documents: Documents,
        applied: Applied,
        packages: PackageStore,
        objects: ObjectSource,
        sealer: Sealer,
        runtimes: RuntimeRules,
        sign_location: LocationSigner,
        clock: Clock,
        architecture: str,
        quotas: AccountQuotas | None = None,
    ) -> None:
        quotas = quotas or AccountQuotas()
        records, vault = FunctionRecords(documents, applied), VariableVault(sealer)
        self._functions = FunctionCommands(
            records,
            CodeSource(packages, objects, quotas),
            vault,
            ConfigurationRules(runtimes, clock, architecture),
            Answers(vault, runtimes, sign_location),
            clock,
        )
        self._tags = TagCommands(records)
        self._account = AccountCommands(records, quotas)

    def commands(self) -> Commands:
        """Return the commands by operation name."""
        return {
            "CreateFunction": self._functions.create,
            "GetFunction": self._functions.get,
            "GetFunctionConfiguration": self._functions.get_configuration,
            "UpdateFunctionCode": self._functions.update_code,
            "UpdateFunctionConfiguration": self._functions.update_configuration,
            "DeleteFunction": self._functions.delete,
            "ListFunctions": self._functions.list,
            "GetAccountSettings": self._account.get_settings,
            "TagResource": self._tags.tag,
            "UntagResource": self._tags.untag,
            "ListTags": self._tags.list,
        }
