#define LONG(_x)	\
	((_x) + 1)
#define SHORT 1

/* Of the struct. */
struct thing {
	int a;
};

/**
 * one - the first
 */
static int one(int a,
	       int b)
{
	if (a) {
		return b;
	}
	return 0;
}

int one_more(void);
struct thing *two(void)
{
	return NULL;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
};

static void __attribute__((noinline)) three(void)
{
}
