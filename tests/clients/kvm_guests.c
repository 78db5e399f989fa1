// SPDX-License-Identifier: GPL-2.0
/*
 * Two KVM guests that read and write their memory while /dev/ksm merges it.
 *
 * Each guest is a process with one virtual CPU that runs the code below, in
 * flat 32-bit protected mode.  The guest fills its memory, then repeats these
 * steps: it reads every byte and compares it with the byte that it wrote,
 * changes one word in some of the pages, reads all of those pages again, and
 * restores the old words.  Most pages hold the same in both guests, so they can be
 * merged; the last eighth is different.  A guest that reads anything it did
 * not write stops and reports it.
 *
 * The guests fill and read all their memory before it is registered, so their
 * nested page tables map the original page frames, writable.  A merge that
 * does not tell KVM (no mmu notifier) leaves them so: the guest then reads
 * frames that were freed, and are zeroed or used for something else.
 *
 * Usage: kvm_guests [--no-ksm] [--thp] [--corrupt] [--pages N] [--hog MIB]
 *		   [--pause MS]
 *
 *  --no-ksm	do not register anything
 *  --thp	let the memory be transparent huge pages
 *  --corrupt	change one byte of guest 1 from outside: the run must fail
 *  --pages	pages of each guest, 2048 without it
 *  --hog	MiB that are allocated, written and freed again and again, so
 *		that freed frames get other content; 64 without it
 *  --pause	milliseconds between two rounds of a guest, so that kksmd gets
 *		round in the time in which each page is written once; none
 *		without it
 *
 * Output, a line each: "guest I pid=P addr=0x... pages=N shared=N" for each
 * guest once its memory is registered, then "rounds A B" every second, and
 * the verdict.  It ends when it reads a line, or the end, of standard input,
 * or when a guest fails.  Exit status 0: no guest read a wrong byte;
 * 1: one did; 2: the guests could not run.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/kvm.h>
#include <linux/ksm.h>

#define GUESTS		2
#define PAGE		4096ul
#define HUGE		(512 * PAGE)
#define WARM_ROUNDS	2	/* before the memory is registered */
#define WRITE_EVERY	61	/* one page in so many is written each round */

/* Guest physical addresses.  The low 64 KiB are not registered. */
#define LOW_SIZE	0x10000ul
#define CODE_AT		0x1000ul
#define BLOCK_AT	0x2000ul
#define STACK_AT	0x8000ul
#define DATA_AT		0x200000ul

/* What the guest says through its one port. */
#define PORT		0x10
#define SAY_FILLED	'F'
#define SAY_WROTE	'W'
#define SAY_ROUND	'R'
#define SAY_WRONG	'E'

/* The guest finds this at BLOCK_AT; guest_code knows the offsets. */
struct block {
	uint32_t npages;
	uint32_t nshared;	/* pages below this one are equal in all guests */
	uint32_t salt;		/* added to the others */
	uint32_t every;
	uint32_t round;
	uint32_t hole;		/* the word that is changed, counted from the end */
	uint32_t delta;		/* what is added to it, 0 while reading all pages */
	uint32_t bad_addr;
	uint32_t bad_got;
	uint32_t bad_want;
};

/*
 * Word i (of 1024) of page p is p * 0x85ebca6b + 0x12345 + i * 0x9e3779b1,
 * plus the salt from page nshared on.
 *
 * %esi is the page throughout, %edi an address, %eax the word wanted, %ecx
 * counts the words of a page down, %ebp points to struct block.
 */
extern const unsigned char guest_code[];
extern const unsigned char guest_code_end[];

__asm__(
"	.pushsection .rodata\n"
"	.code32\n"
"	.globl guest_code, guest_code_end\n"
"guest_code:\n"
/* Fill all pages. */
"	xorl	%esi, %esi\n"
"1:	call	page_start\n"
"2:	movl	%eax, (%edi)\n"
"	addl	$0x9e3779b1, %eax\n"
"	addl	$4, %edi\n"
"	decl	%ecx\n"
"	jnz	2b\n"
"	incl	%esi\n"
"	cmpl	0x00(%ebp), %esi\n"
"	jb	1b\n"
"	movb	$'F', %al\n"
"	outb	%al, $0x10\n"
/* A round: read all pages ... */
"next_round:\n"
"	movl	$0, 0x18(%ebp)\n"
"	xorl	%esi, %esi\n"
"1:	call	check_page\n"
"	incl	%esi\n"
"	cmpl	0x00(%ebp), %esi\n"
"	jb	1b\n"
/* ... choose the word and its change for this round ... */
"	movl	0x10(%ebp), %eax\n"
"	movl	%eax, %edx\n"
"	andl	$1023, %edx\n"
"	incl	%edx\n"
"	movl	%edx, 0x14(%ebp)\n"
"	leal	1(%eax,%eax), %eax\n"
"	movl	%eax, 0x18(%ebp)\n"
/* ... add the change to one word of each chosen page ... */
"	call	add_delta\n"
"	movb	$'W', %al\n"
"	outb	%al, $0x10\n"
/* ... read those pages, in which that word must have changed ... */
"	call	first_chosen\n"
"1:	call	check_page\n"
"	call	hole_address\n"
"	movl	(%edi), %ebx\n"
"	addl	0x18(%ebp), %eax\n"
"	cmpl	%eax, %ebx\n"
"	jne	wrong\n"
"	addl	0x0c(%ebp), %esi\n"
"	cmpl	0x00(%ebp), %esi\n"
"	jb	1b\n"
/* ... and take the change back. */
"	negl	0x18(%ebp)\n"
"	call	add_delta\n"
"	incl	0x10(%ebp)\n"
"	movb	$'R', %al\n"
"	outb	%al, $0x10\n"
"	jmp	next_round\n"

/* %esi: the first page of this round, round % every. */
"first_chosen:\n"
"	movl	0x10(%ebp), %eax\n"
"	xorl	%edx, %edx\n"
"	divl	0x0c(%ebp)\n"
"	movl	%edx, %esi\n"
"	ret\n"

/* Add delta to the word of each chosen page, by reading and writing it. */
"add_delta:\n"
"	call	first_chosen\n"
"1:	call	hole_address\n"
"	movl	(%edi), %eax\n"
"	addl	0x18(%ebp), %eax\n"
"	movl	%eax, (%edi)\n"
"	addl	0x0c(%ebp), %esi\n"
"	cmpl	0x00(%ebp), %esi\n"
"	jb	1b\n"
"	ret\n"

/* For page %esi: %edi its address, %eax its first word, %ecx its words. */
"page_start:\n"
"	imull	$0x85ebca6b, %esi, %eax\n"
"	addl	$0x12345, %eax\n"
"	cmpl	0x04(%ebp), %esi\n"
"	jb	1f\n"
"	addl	0x08(%ebp), %eax\n"
"1:	movl	%esi, %edi\n"
"	shll	$12, %edi\n"
"	addl	$0x200000, %edi\n"
"	movl	$1024, %ecx\n"
"	ret\n"

/* For page %esi: %edi the address of its word to change, %eax the old word. */
"hole_address:\n"
"	call	page_start\n"
"	subl	0x14(%ebp), %ecx\n"
"	leal	(%edi,%ecx,4), %edi\n"
"	imull	$0x9e3779b1, %ecx, %ecx\n"
"	addl	%ecx, %eax\n"
"	ret\n"

/* Compare page %esi; with a delta, the word at the hole is passed by. */
"check_page:\n"
"	call	page_start\n"
"1:	movl	(%edi), %ebx\n"
"	cmpl	%eax, %ebx\n"
"	jne	3f\n"
"2:	addl	$0x9e3779b1, %eax\n"
"	addl	$4, %edi\n"
"	decl	%ecx\n"
"	jnz	1b\n"
"	ret\n"
"3:	cmpl	$0, 0x18(%ebp)\n"
"	je	wrong\n"
"	cmpl	0x14(%ebp), %ecx\n"
"	je	2b\n"
/* %edi, %ebx and %eax: the address, what is there, and what should be. */
"wrong:\n"
"	movl	%edi, 0x1c(%ebp)\n"
"	movl	%ebx, 0x20(%ebp)\n"
"	movl	%eax, 0x24(%ebp)\n"
"1:	movb	$'E', %al\n"
"	outb	%al, $0x10\n"
"	jmp	1b\n"
"guest_code_end:\n"
"	.code64\n"
"	.popsection\n"
);

/* A guest as the parent sees it: in memory that the processes share. */
struct status {
	volatile uint32_t ready;	/* registered, or --no-ksm */
	volatile uint32_t rounds;
	volatile uint32_t wrong;
	volatile uint32_t bad_addr, bad_got, bad_want;
	volatile uint64_t addr;
};

struct shared {
	volatile uint32_t stop;
	struct status guest[GUESTS];
};

static struct {
	int no_ksm, thp, corrupt;
	size_t pages, hog;
	useconds_t pause;
} option = { 0, 0, 0, 2048, 64, 0 };

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	int error = errno;
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "kvm_guests: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(arguments);
	exit(2);
}

static unsigned char *map(size_t size, int flags)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap of %zu bytes", size);
	return (unsigned char *)memory;
}

static void set_memory(int vm, uint32_t slot, uint64_t at, unsigned char *memory, size_t size)
{
	struct kvm_userspace_memory_region region;

	memset(&region, 0, sizeof(region));
	region.slot = slot;
	region.guest_phys_addr = at;
	region.memory_size = size;
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region))
		fail("KVM_SET_USER_MEMORY_REGION");
}

static void set_cpuid(int kvm, int cpu)
{
	enum { ENTRIES = 100 };
	struct kvm_cpuid2 *cpuid;

	cpuid = (struct kvm_cpuid2 *)calloc(1, sizeof(*cpuid) +
					    ENTRIES * sizeof(struct kvm_cpuid_entry2));
	if (!cpuid)
		fail("calloc");
	cpuid->nent = ENTRIES;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		fail("KVM_GET_SUPPORTED_CPUID");
	if (ioctl(cpu, KVM_SET_CPUID2, cpuid))
		fail("KVM_SET_CPUID2");
	free(cpuid);
}

/* Flat protected mode without paging: guest addresses are guest physical. */
static void set_registers(int cpu)
{
	struct kvm_segment segment;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	if (ioctl(cpu, KVM_GET_SREGS, &sregs))
		fail("KVM_GET_SREGS");
	memset(&segment, 0, sizeof(segment));
	segment.limit = 0xffffffff;
	segment.selector = 0x10;
	segment.type = 3;	/* data, writable, accessed */
	segment.present = segment.s = segment.db = segment.g = 1;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment;
	segment.selector = 0x08;
	segment.type = 11;	/* code, readable, accessed */
	sregs.cs = segment;
	sregs.cr0 |= 1;		/* protection enable */
	if (ioctl(cpu, KVM_SET_SREGS, &sregs))
		fail("KVM_SET_SREGS");

	memset(&regs, 0, sizeof(regs));
	regs.rip = CODE_AT;
	regs.rsp = STACK_AT;
	regs.rbp = BLOCK_AT;
	regs.rflags = 2;
	if (ioctl(cpu, KVM_SET_REGS, &regs))
		fail("KVM_SET_REGS");
}

/* As programs of 2009: both descriptors stay open until the process ends. */
static void offer_memory(unsigned char *memory)
{
	struct ksm_memory_region region;
	int device, area;

	device = open("/dev/ksm", O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail("open /dev/ksm");
	area = ioctl(device, KSM_CREATE_SHARED_MEMORY_AREA);
	if (area < 0)
		fail("KSM_CREATE_SHARED_MEMORY_AREA");
	memset(&region, 0, sizeof(region));
	region.npages = (uint32_t)option.pages;
	region.addr = (uintptr_t)memory;
	if (ioctl(area, KSM_REGISTER_MEMORY_REGION, &region))
		fail("KSM_REGISTER_MEMORY_REGION");
}

/* The guest's memory, aligned to the size of a huge page. */
static unsigned char *map_data(void)
{
	size_t size = option.pages * PAGE;
	unsigned char *data = map(size + HUGE, MAP_PRIVATE);

	data += HUGE - (uintptr_t)data % HUGE;
	if (madvise(data, size, option.thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		fail("madvise");
	return data;
}

/* Runs one guest in this process, until it fails or is told to stop. */
static int run_guest(unsigned int number, struct shared *shared)
{
	struct status *status = &shared->guest[number];
	unsigned char *low, *data;
	struct kvm_run *run;
	struct block *block;
	int kvm, vm, cpu, size;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		fail("open /dev/kvm (modprobe kvm_amd or kvm_intel)");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		fail("KVM_CREATE_VM");
	/* Intel without unrestricted guest wants a place for these. */
	ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);

	low = map(LOW_SIZE, MAP_PRIVATE);
	data = map_data();
	memcpy(low + CODE_AT, guest_code, (size_t)(guest_code_end - guest_code));
	block = (struct block *)(low + BLOCK_AT);
	block->npages = (uint32_t)option.pages;
	block->nshared = (uint32_t)(option.pages - option.pages / 8);
	block->salt = 0x1000 * (number + 1);
	block->every = WRITE_EVERY;
	set_memory(vm, 0, 0, low, LOW_SIZE);
	set_memory(vm, 1, DATA_AT, data, option.pages * PAGE);

	cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (cpu < 0)
		fail("KVM_CREATE_VCPU");
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = (struct kvm_run *)mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
				     cpu, 0);
	if (size < 0 || run == (struct kvm_run *)MAP_FAILED)
		fail("mmap of the virtual CPU");
	set_cpuid(kvm, cpu);
	set_registers(cpu);

	while (!shared->stop) {
		if (ioctl(cpu, KVM_RUN, 0)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			fail("KVM_RUN");
		}
		if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT) {
			errno = EIO;
			fail("guest %u left with reason %u", number, run->exit_reason);
		}
		switch (*((unsigned char *)run + run->io.data_offset)) {
		case SAY_ROUND:
			status->rounds = block->round;
			if (block->round != WARM_ROUNDS) {
				usleep(option.pause * 1000);
				break;
			}
			if (!option.no_ksm)
				offer_memory(data);
			if (option.corrupt && number == 1)
				data[100 * PAGE + 4000] ^= 1;
			status->addr = (uintptr_t)data;
			__sync_synchronize();
			status->ready = 1;
			break;
		case SAY_WRONG:
			status->bad_addr = block->bad_addr;
			status->bad_got = block->bad_got;
			status->bad_want = block->bad_want;
			__sync_synchronize();
			status->wrong = 1;
			return 1;
		}
	}
	return 0;
}

/* Give freed frames another content. */
static void hog(void)
{
	size_t size = option.hog << 20;
	unsigned char *memory;

	if (!size)
		return;
	memory = map(size, MAP_PRIVATE);
	madvise(memory, size, MADV_NOHUGEPAGE);
	memset(memory, 0xee, size);
	munmap(memory, size);
}

static uint64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* Whether a process ended by itself; it is not reaped. */
static int one_ended(void)
{
	siginfo_t ended;

	ended.si_pid = 0;
	if (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT))
		return 1;
	return ended.si_pid != 0;
}

static void announce(const struct shared *shared, const pid_t *pids)
{
	unsigned int i;

	for (i = 0; i < GUESTS; i++)
		printf("guest %u pid=%d addr=%#llx pages=%zu shared=%zu\n", i, pids[i],
		       (unsigned long long)shared->guest[i].addr, option.pages,
		       option.pages - option.pages / 8);
	fflush(stdout);
}

/* Runs until a guest ends by itself, or standard input says so. */
static void watch(const struct shared *shared, const pid_t *pids)
{
	struct pollfd input = { STDIN_FILENO, POLLIN, 0 };
	uint64_t next = now_ms() + 1000;
	int announced = 0;

	while (!one_ended() && poll(&input, 1, 50) == 0) {
		if (!announced && shared->guest[0].ready && shared->guest[1].ready) {
			announced = 1;
			announce(shared, pids);
		}
		if (now_ms() < next)
			continue;
		hog();
		printf("rounds %u %u\n", shared->guest[0].rounds, shared->guest[1].rounds);
		fflush(stdout);
		next = now_ms() + 1000;
	}
}

/* Waits for the guests, and returns the exit status of the program. */
static int verdict(const struct shared *shared, const pid_t *pids)
{
	int result = 0, status, code;
	unsigned int i;

	for (i = 0; i < GUESTS; i++) {
		const struct status *guest = &shared->guest[i];

		while (waitpid(pids[i], &status, 0) < 0 && errno == EINTR)
			;
		code = WIFEXITED(status) ? WEXITSTATUS(status) : 2;
		if (WIFSIGNALED(status))
			fprintf(stderr, "kvm_guests: guest %u died of signal %d\n", i,
				WTERMSIG(status));
		if (guest->wrong)
			printf("guest %u WRONG: page %lu offset %lu: read %#x, wrote %#x, round %u\n",
			       i, (guest->bad_addr - DATA_AT) / PAGE, guest->bad_addr % PAGE,
			       guest->bad_got, guest->bad_want, guest->rounds);
		if (code > result)
			result = code;
	}
	printf("verdict %s rounds %u %u\n",
	       result == 0 ? "ok" : result == 1 ? "wrong" : "unknown",
	       shared->guest[0].rounds, shared->guest[1].rounds);
	return result;
}

static void parse(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--no-ksm")) {
			option.no_ksm = 1;
		} else if (!strcmp(argv[i], "--thp")) {
			option.thp = 1;
		} else if (!strcmp(argv[i], "--corrupt")) {
			option.corrupt = 1;
		} else if (!strcmp(argv[i], "--pages") && i + 1 < argc) {
			option.pages = strtoul(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--hog") && i + 1 < argc) {
			option.hog = strtoul(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--pause") && i + 1 < argc) {
			option.pause = (useconds_t)strtoul(argv[++i], NULL, 0);
		} else {
			errno = EINVAL;
			fail("argument %s", argv[i]);
		}
	}
	if (option.pages < 128 || option.pages > 1ul << 18) {
		errno = EINVAL;
		fail("%zu pages, not 128 to 262144", option.pages);
	}
}

int main(int argc, char **argv)
{
	struct shared *shared;
	pid_t pids[GUESTS], parent = getpid();
	unsigned int i;

	parse(argc, argv);
	shared = (struct shared *)map(sizeof(*shared), MAP_SHARED);
	for (i = 0; i < GUESTS; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			fail("fork");
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(2);
			exit(run_guest(i, shared));
		}
	}
	watch(shared, pids);
	shared->stop = 1;
	return verdict(shared, pids);
}
