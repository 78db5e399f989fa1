"""The scan-time advisor of ksmd, as in mm/ksm.c of Linux 6.12. Complete after_scan()."""

from dataclasses import dataclass

MIN_CPU = 10


@dataclass
class Advisor:
    """The settings and the state of the advisor.

    Attributes:
        pages_to_scan: The number of pages that ksmd scans before it sleeps.
        target: The wanted time of a scan of all registered memory, in seconds.
        max_cpu: The upper limit of the CPU use of ksmd, in percent of one CPU.
        max_pages: The upper limit of pages_to_scan.
        change: The average of each scan's time relative to the scan before it, in percent; 100 means no change.
        last: The time of the scan before, in seconds; 0 in the first call.
    """

    pages_to_scan: int = 500
    target: int = 200
    max_cpu: int = 70
    max_pages: int = 30000
    change: int = 0
    last: int = 0

    def after_scan(self, seconds: int, cpu: int) -> int:
        """Set pages_to_scan, change and last after a scan, and return pages_to_scan. All divisions round down.

        1. Compare the time with the target: the factor is 100 * target / seconds, but at least 1. The new number of
           pages is 100 * pages_to_scan / factor.
        2. Compare the time with that of the scan before: the latest change is 100 * seconds / last, but at least 1. In
           the first call, last is 0: use seconds in its place. Then set change to 70% of its old value plus 30% of the
           latest change, with a single division by 100. Multiply the new number of pages by change, and divide it by
           100.
        3. Limit the CPU use. During this scan, pages_to_scan had its old value, so 1% of a CPU was enough for
           pages_to_scan / cpu pages, but count at least 1 page. If the new number is higher than max_cpu times as
           many, reduce it to that. If it is now lower than MIN_CPU times as many, raise it to that.
        4. If the new number is higher than max_pages, reduce it to max_pages.

        Args:
            seconds: The time of the scan, at least 1.
            cpu: The CPU use of ksmd during the scan, in percent of one CPU, at least 1.
        """
        raise NotImplementedError
