from __future__ import annotations

import pytest

from infra.config import catalog


def test_the_talks_type_is_what_it_is() -> None:
    p3dn = catalog.find("p3dn.24xlarge")
    assert p3dn is not None
    assert (p3dn.vcpus, p3dn.gpus, p3dn.gpu, p3dn.efa_interfaces, len(p3dn.cards)) == (96, 8, "V100", 1, 1)
    assert p3dn.zones["us-east-1"] == ("use1-az1", "use1-az6")
    assert "ap-northeast-2" not in p3dn.zones
    assert catalog.price_per_hour("p3dn.24xlarge", "us-east-1") == 31.212


@pytest.mark.parametrize(
    "family", ["p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "g4dn", "g5", "g6", "m5", "m6i", "m7i", "c5"]
)
def test_every_family_is_there(family: str) -> None:
    assert any(known.family == family for known in catalog.instance_types().values())


def test_rows_are_consistent() -> None:
    for known in catalog.instance_types().values():
        assert known.zones and all(known.zones.values()), known.name
        assert [card.index for card in known.cards] == list(range(len(known.cards)))
        assert (known.gpus > 0) == (known.gpu is not None) == (known.gpu_architecture is not None)
        assert known.efa_interfaces <= sum("efa" in card.kinds for card in known.cards)
        for region, zones in known.zones.items():
            assert set(zones) <= set(catalog.zone_ids(region))


def test_each_part_names_its_source_and_date() -> None:
    assert set(catalog.sources()) >= {"types", "prices", "services"}
    assert all(source["what"] and source["date"] for source in catalog.sources().values())


def test_there_is_no_price_where_the_table_has_none() -> None:
    assert catalog.price_per_hour("p3dn.24xlarge", "ap-northeast-2") is None
    assert catalog.file_system_price("PERSISTENT_2", 100) is None
    assert catalog.file_system_price("PERSISTENT_2", 250) == 0.21
