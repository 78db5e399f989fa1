"""The scan-time advisor of ksmd, as in mm/ksm.c of Linux 6.12."""

from dataclasses import dataclass

MIN_CPU = 10


@dataclass
class Advisor:
    """The settings and the state of the advisor.

    Attributes:
        pages_to_scan: The number of pages that ksmd scans before it sleeps.
        target: The wanted time of a scan of all memory, in seconds.
        max_cpu: The upper limit of the CPU use of ksmd, in percent of one CPU.
        max_pages: The upper limit of pages_to_scan.
        change: The average change of the scan time, in percent.
        last: The time of the last scan, in seconds; 0 before the first scan.
    """

    pages_to_scan: int = 500
    target: int = 200
    max_cpu: int = 70
    max_pages: int = 30000
    change: int = 0
    last: int = 0

    def after_scan(self, seconds: int, cpu: int) -> int:
        """Set pages_to_scan after a scan, and return it. All divisions round down.

        1. Compute how far the scan time was from the target: the factor is 100 * target / seconds, but at least 1.
           Multiply pages_to_scan by 100, and divide it by this factor.
        2. The scan time has changed: compute 100 * seconds / last, but at least 1. Before the first scan, last is
           seconds. The average is 70% of the old average and 30% of the new value, as one division by 100.
           Multiply the pages by the average, and divide them by 100.
        3. Limit the pages by the CPU time. With the pages_to_scan of the last scan, 1% of a CPU was enough for
           pages_to_scan / cpu pages, but at least 1. Use at most max_cpu percent, and then at least MIN_CPU percent.
        4. Limit the pages to max_pages.

        Args:
            seconds: The time of the scan, at least 1.
            cpu: The CPU use of ksmd during the scan, in percent of one CPU, at least 1.
        """
        factor = max(self.target * 100 // seconds, 1)
        pages = self.pages_to_scan * 100 // factor
        latest = max(seconds * 100 // (self.last or seconds), 1)
        self.change = (70 * self.change + 30 * latest) // 100
        pages = pages * self.change // 100
        per_percent = max(self.pages_to_scan // cpu, 1)
        pages = min(pages, per_percent * self.max_cpu)
        pages = max(pages, per_percent * MIN_CPU)
        self.pages_to_scan = min(pages, self.max_pages)
        self.last = seconds
        return self.pages_to_scan
