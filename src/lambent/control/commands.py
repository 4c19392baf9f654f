"""All commands of the functions API, wired together once."""

from lambent.control.account import AccountCommands
from lambent.control.aliases import AliasCommands
from lambent.control.answers import Answers
from lambent.control.code import CodeSource
from lambent.control.concurrency import ConcurrencyCommands
from lambent.control.configuration import ConfigurationRules
from lambent.control.destinations import Reachable
from lambent.control.event_configs import EventConfigCommands
from lambent.control.functions import FunctionCommands
from lambent.control.layers import LayerCommands
from lambent.control.lists import FunctionLists
from lambent.control.permissions import PermissionCommands
from lambent.control.provisioned import ProvisionedCommands
from lambent.control.quotas import AccountQuotas
from lambent.control.records import FunctionRecords
from lambent.control.seams import Applied, LocationSigner, ObjectSource, PackageStore, RuntimeRules, Sealer
from lambent.control.tags import TagCommands
from lambent.control.variables import VariableVault
from lambent.control.versions import VersionCommands
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
        reachable: Reachable,
        quotas: AccountQuotas | None = None,
    ) -> None:
        quotas = quotas or AccountQuotas()
        records, vault = FunctionRecords(documents, applied), VariableVault(sealer)
        answers = Answers(vault, runtimes, sign_location)
        self._versions = VersionCommands(records, vault, answers)
        code = CodeSource(packages, objects, quotas)
        self._functions = FunctionCommands(
            records,
            code,
            vault,
            ConfigurationRules(runtimes, clock, architecture, reachable),
            answers,
            self._versions,
            clock,
        )
        self._aliases = AliasCommands(records)
        self._concurrency = ConcurrencyCommands(records, quotas)
        self._event_configs = EventConfigCommands(documents, records, reachable, clock)
        self._provisioned = ProvisionedCommands(records, quotas, clock)
        self._permissions = PermissionCommands(records)
        self._lists = FunctionLists(records, answers)
        self._tags = TagCommands(records)
        self._layers = LayerCommands(documents, code, sign_location, clock)
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
            "ListFunctions": self._lists.list_functions,
            "PublishVersion": self._versions.publish,
            "ListVersionsByFunction": self._versions.list,
            "CreateAlias": self._aliases.create,
            "GetAlias": self._aliases.get,
            "UpdateAlias": self._aliases.update,
            "DeleteAlias": self._aliases.delete,
            "ListAliases": self._aliases.list_aliases,
            "PutFunctionConcurrency": self._concurrency.put,
            "GetFunctionConcurrency": self._concurrency.get,
            "DeleteFunctionConcurrency": self._concurrency.delete,
            "PutProvisionedConcurrencyConfig": self._provisioned.put,
            "GetProvisionedConcurrencyConfig": self._provisioned.get,
            "DeleteProvisionedConcurrencyConfig": self._provisioned.delete,
            "ListProvisionedConcurrencyConfigs": self._provisioned.list_configs,
            "AddPermission": self._permissions.add,
            "RemovePermission": self._permissions.remove,
            "GetPolicy": self._permissions.get,
            "GetAccountSettings": self._account.get_settings,
            "TagResource": self._tags.tag,
            "UntagResource": self._tags.untag,
            "ListTags": self._tags.list,
            **self._event_configs.commands(),
            **self._layers.commands(),
        }
