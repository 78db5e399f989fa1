"""Removing an area removes all of its own regions, and none of another area."""

from remove import Area, Driver


def test_only_its_own_regions_go() -> None:
    driver, mine, other = Driver(), Area(), Area()
    driver.register(other, "qemu", 0x1000)
    driver.register(mine, "qemu", 0x9000)
    driver.remove(mine)
    assert [region.start for region in driver.scanned] == [0x1000]
    assert len(other.regions) == 1


def test_all_of_them_go() -> None:
    driver, area = Driver(), Area()
    for start in range(5):
        driver.register(area, "qemu", start)
    driver.remove(area)
    assert driver.scanned == []
    assert area.regions == []
