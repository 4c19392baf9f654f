"""Where services are."""

import pytest

from lambent.model.ids import Scope
from lambent.neighbours.catalogue import (
    At,
    Catalogue,
    Credentials,
    NeighbourOff,
    Off,
    RealAws,
    build_catalogue,
    parse_neighbour,
)

SCOPE = Scope("111111111111", "eu-central-1")


def test_each_service_is_where_its_setting_says_and_all_others_are_off():
    catalogue = build_catalogue({"s3": "http://127.0.0.1:5000/", "sqs": "aws", "sns": "off"})
    assert catalogue.get_neighbour("s3") == At("http://127.0.0.1:5000")
    assert catalogue.get_neighbour("sqs") == RealAws()
    for service in ("sns", "dynamodb"):
        with pytest.raises(NeighbourOff, match=service):
            catalogue.get_neighbour(service)


def test_a_star_stands_for_all_other_services():
    catalogue = build_catalogue({"*": "https://example.test", "s3": "off"})
    assert catalogue.get_neighbour("dynamodb") == At("https://example.test")
    with pytest.raises(NeighbourOff):
        catalogue.get_neighbour("s3")


@pytest.mark.parametrize("text", ["", "AWS", "example.test", "ftp://example.test"])
def test_another_value_is_refused_with_the_services_name(text):
    with pytest.raises(ValueError, match="'s3'"):
        parse_neighbour("s3", text)


def test_requests_are_signed_as_the_place_wants_it():
    own = Credentials("AKIA", "secret")
    catalogue = Catalogue(
        {"a": At("http://x"), "b": At("http://x", own), "c": RealAws(), "d": RealAws(own), "e": Off()}
    )
    assert catalogue.find_credentials("a", SCOPE).access_key == SCOPE.account_id
    assert catalogue.find_credentials("b", SCOPE) == own
    assert catalogue.find_credentials("c", SCOPE) is None
    assert catalogue.find_credentials("d", SCOPE) == own
    with pytest.raises(NeighbourOff):
        catalogue.find_credentials("e", SCOPE)


def test_secrets_do_not_show():
    assert "secret" not in repr(Credentials("AKIA", "secret", "secret-token")).replace("session_token", "")
