/* SPDX-License-Identifier: GPL-2.0 */
/* Host stand-in. */
#ifndef HOST_LINUX_STRING_H
#define HOST_LINUX_STRING_H

#include <string.h>

#endif
