"""Every error that a caller may see has a code of AWS's, or one whose source stands here."""

import importlib
import pkgutil

import pytest
from botocore.loaders import Loader

import lambent
from lambent.model.errors import CallerError

# Codes that no service model lists.
WRITTEN = {
    "ExpiredTokenException": "API reference of each service, Common Errors",
    "IncompleteSignatureException": "API reference of each service, Common Errors",
    "InvalidAction": "API reference of each query service, Common Errors",
    "MalformedQueryString": "API reference of each query service, Common Errors",
    "MissingAction": "API reference of each query service, Common Errors",
    "InternalFailure": "API reference of each service, Common Errors",
    "InvalidSignatureException": "seen from AWS Lambda: a signature that does not match",
    "MissingAuthenticationTokenException": "seen from AWS Lambda: a request without a signature",
    "NotImplementedException": "ours: an operation that is not built",
    "RequestEntityTooLargeException": "recorded from AWS Lambda: a body over the operation's limit",
    "SerializationException": "seen from AWS Lambda and CloudWatch Logs: a member of another JSON type",
    "ServiceUnavailable": "API reference of each service, Common Errors: a neighbour that does not answer",
    "UnknownOperationException": "seen from CloudWatch Logs: X-Amz-Target names no operation",
    "UnrecognizedClientException": "seen from AWS Lambda: an unknown access key",
    "ValidationException": "recorded from AWS Lambda: a broken constraint",
    "AccessDeniedException": "recorded from AWS Lambda: a caller whom no policy allows",
}


def modelled_errors():
    """Return code → the statuses that the models state for it."""
    found = {}
    for service in ("lambda", "logs"):
        for name, shape in Loader().load_service_model(service, "service-2")["shapes"].items():
            if shape.get("exception"):
                found.setdefault(name, set()).add(shape.get("error", {}).get("httpStatusCode"))
    return found


def import_all():
    """Import every module of the package but those that are programs of their own."""
    for module in pkgutil.walk_packages(lambent.__path__, "lambent."):
        if not module.name.endswith((".main", ".bootstrap")):
            importlib.import_module(module.name)


def error_classes(family=CallerError):
    for each in family.__subclasses__():
        yield each
        yield from error_classes(each)


@pytest.fixture(scope="module")
def classes():
    import_all()
    found = [each for each in error_classes() if each.__module__.startswith("lambent.")]
    assert len(found) > 20
    return found


def test_every_error_has_a_code_of_a_service_model_or_of_the_list(classes):
    known = {*modelled_errors(), *WRITTEN}
    assert not [f"{each.__module__}.{each.__name__}: {each.code}" for each in classes if each.code not in known]


def test_no_listed_code_is_unused(classes):
    assert not {*WRITTEN} - {each.code for each in classes}


def test_an_error_has_the_status_that_its_model_states(classes):
    stated = {code: statuses - {None} for code, statuses in modelled_errors().items()}
    wrong = [
        f"{each.__name__}: {each.code} {each.status}"
        for each in classes
        # The errors of JSON services are 400 whatever their model's other service states.
        if stated.get(each.code) and each.status not in {*stated[each.code], 400}
    ]
    assert not wrong


def test_every_error_says_when_it_is_raised(classes):
    assert not [each.__name__ for each in classes if not each.__doc__]
