"""The removal of an area removes all of its own regions, and none of another area."""

from remove import Area, Driver


def test_regions_of_another_area_stay() -> None:
    driver, mine, other = Driver(), Area(), Area()
    driver.register(other, "qemu", 0x1000)
    driver.register(mine, "qemu", 0x9000)
    driver.remove(mine)
    scanned = [hex(region.start) for region in driver.scanned]
    assert scanned == ["0x1000"], (
        "One process has two areas, each with one region. After the removal of the second area, the driver must still "
        f"scan the region at 0x1000, and no other; it scans {scanned}. See 'Bugs of 2008 and 2009'."
    )
    assert len(other.regions) == 1, (
        f"The other area must keep its region; it has {len(other.regions)} now."
    )


def test_all_regions_of_the_area_are_removed() -> None:
    driver, area = Driver(), Area()
    for start in range(5):
        driver.register(area, "qemu", start)
    driver.remove(area)
    assert driver.scanned == [], (
        f"The area had 5 regions, and all must be removed; the driver still scans {len(driver.scanned)}. Does the loop "
        "change the list that it walks?"
    )
    assert area.regions == [], (
        f"After the removal the area must have no regions; it has {len(area.regions)}."
    )
