// An AXI4 memory for simulation, with a latency, random stalls, and errors on request.
//
// Reads and writes are answered in order, at least `latency` cycles after the request. In each
// cycle each channel stalls with probability `stall` / 256. Addresses past the end answer with
// DECERR, and those from `fault_first` to `fault_last` with SLVERR.
//
// The memory is as unkind as AXI allows: a read returns what the memory held when the request was
// taken, and a write is visible to reads only once its response is offered.
//
// `violations` counts what a manager must not do: bursts across 4 KiB, narrow or wrapping bursts, a
// misplaced WLAST, a request that changes before it is taken, a burst that ends after `access_last`,
// a write outside `write_first` .. `write_last`. It also counts what this core promises beyond that: it never holds the bus up, no
// client has more than `MOST_READ` beats under way, at most `MOST_WRITES` bursts wait for their
// responses, and nothing is under way when `resting` is high. `beats_read` and `beats_written` count
// the beats that were transferred since reset.
//
// A cycle of `load` reads words `file_first` .. `file_last` from the file +memory_in=FILE; a cycle
// of `dump` writes them to +memory_out=FILE. A dumped file has the bytes as they lie in memory. In
// a file to be loaded, each word's last byte comes first, because `$fread` reads it that way.

module axi_memory #(
    parameter DATA_BITS = 64,
    parameter ID_BITS = 2,
    parameter WORD_BITS = 19,
    parameter MOST_READ = 128,
    parameter MOST_WRITES = 16,
    parameter QUEUE_BITS = 4  // of the number of bursts that each of its queues holds
) (
    input clk,
    input rst,
    input resting,
    input [31:0] latency,
    input [7:0] stall,
    input [31:0] access_last,
    input [31:0] fault_first,
    input [31:0] fault_last,
    input [31:0] write_first,
    input [31:0] write_last,
    input load,
    input dump,
    input [31:0] file_first,
    input [31:0] file_last,
    output reg [31:0] violations,
    output reg [31:0] beats_read,
    output reg [31:0] beats_written,

    input [ID_BITS-1:0] arid,
    input [31:0] araddr,
    input [7:0] arlen,
    input [2:0] arsize,
    input [1:0] arburst,
    input arvalid,
    output arready,
    output reg [ID_BITS-1:0] rid,
    output reg [DATA_BITS-1:0] rdata,
    output reg [1:0] rresp,
    output reg rlast,
    output reg rvalid,
    input rready,

    input [ID_BITS-1:0] awid,
    input [31:0] awaddr,
    input [7:0] awlen,
    input [2:0] awsize,
    input [1:0] awburst,
    input awvalid,
    output awready,
    input [DATA_BITS-1:0] wdata,
    input [DATA_BITS/8-1:0] wstrb,
    input wlast,
    input wvalid,
    output wready,
    output reg [ID_BITS-1:0] bid,
    output reg [1:0] bresp,
    output reg bvalid,
    input bready
);
  localparam BYTES = DATA_BITS / 8;
  localparam SHIFT = $clog2(BYTES);
  localparam [2:0] SIZE = SHIFT[2:0];
  localparam BURST = 32;  // beats of the core's longest burst
  localparam BURST_BITS = $clog2(BURST);
  localparam QUEUE = 1 << QUEUE_BITS;

  reg [DATA_BITS-1:0] words[0:(1 << WORD_BITS) - 1];
  reg [8*1024-1:0] file;
  integer word;
  initial for (word = 0; word < 1 << WORD_BITS; word = word + 1) words[word] = {BYTES{8'hA5}};

  integer handle;
  always @(posedge clk) begin
    if (load && $value$plusargs("memory_in=%s", file)) begin
      handle = $fopen(file, "rb");
      word = $fread(words, handle, file_first, file_last - file_first + 1);
      $fclose(handle);
    end
    if (dump && $value$plusargs("memory_out=%s", file)) begin
      handle = $fopen(file, "wb");
      for (word = file_first; word <= file_last; word = word + 1)
        $fwrite(handle, "%u", words[word[WORD_BITS-1:0]]);
      $fclose(handle);
    end
  end

  reg [31:0] now;
  reg [63:0] noise;
  wire [4:0] stalls = {
    noise[39:32] < stall, noise[31:24] < stall, noise[23:16] < stall, noise[15:8] < stall,
    noise[7:0] < stall
  };
  always @(posedge clk) begin
    now <= rst ? 0 : now + 1;
    if (rst || load) noise <= 64'h9E37_79B9_7F4A_7C15;  // a run stalls as it would alone
    else begin  // xorshift
      noise <= step3(step2(step1(noise)));
    end
  end
  function [63:0] step1(input [63:0] x); step1 = x ^ (x << 13); endfunction
  function [63:0] step2(input [63:0] x); step2 = x ^ (x >> 7); endfunction
  function [63:0] step3(input [63:0] x); step3 = x ^ (x << 17); endfunction

  function absent(input [31:0] address);
    absent = (address >> SHIFT) >= (1 << WORD_BITS);
  endfunction
  function faulty(input [31:0] address);
    faulty = absent(address) || (address >= fault_first && address <= fault_last);
  endfunction
  function [1:0] answer(input [31:0] address);
    answer = absent(address) ? 2'b11 : faulty(address) ? 2'b10 : 2'b00;
  endfunction

  // Reads: a queue of bursts with their data, and the beat of the first of them.
  reg [31:0] r_address[0:QUEUE-1];
  reg [31:0] r_due[0:QUEUE-1];
  reg [7:0] r_left[0:QUEUE-1];
  reg [ID_BITS-1:0] r_id[0:QUEUE-1];
  reg [DATA_BITS-1:0] r_data[0:QUEUE*BURST-1];
  reg [QUEUE_BITS:0] r_head, r_tail;
  reg [31:0] r_at;
  reg [7:0] r_beats;
  reg r_begun;
  wire [31:0] r_now = r_begun ? r_at : r_address[r_head[QUEUE_BITS-1:0]];
  wire [7:0] r_rest = r_begun ? r_beats : r_left[r_head[QUEUE_BITS-1:0]];
  integer ahead;
  wire [7:0] r_number = r_left[r_head[QUEUE_BITS-1:0]] - r_rest;
  wire r_serves = r_head != r_tail && now - r_due[r_head[QUEUE_BITS-1:0]] < 32'h8000_0000 && !stalls[0]
      && (!rvalid || rready);
  assign arready = r_tail - r_head != QUEUE[QUEUE_BITS:0] && !stalls[1];
  always @(posedge clk) begin
    if (rst) begin
      {r_head, r_tail, r_begun, rvalid} <= 0;
    end else begin
      if (arvalid && arready) begin
        r_address[r_tail[QUEUE_BITS-1:0]] <= araddr;
        r_left[r_tail[QUEUE_BITS-1:0]] <= arlen;
        r_id[r_tail[QUEUE_BITS-1:0]] <= arid;
        r_due[r_tail[QUEUE_BITS-1:0]] <= now + latency;
        for (ahead = 0; ahead <= {24'd0, arlen} && ahead < BURST; ahead = ahead + 1)
          r_data[{r_tail[QUEUE_BITS-1:0], ahead[BURST_BITS-1:0]}] <= words[araddr[SHIFT+:WORD_BITS]+ahead[WORD_BITS-1:0]];
        r_tail <= r_tail + 1;
      end
      if (rready) rvalid <= 0;
      if (r_serves) begin
        rvalid <= 1;
        rid <= r_id[r_head[QUEUE_BITS-1:0]];
        rdata <= r_data[{r_head[QUEUE_BITS-1:0], r_number[BURST_BITS-1:0]}];
        rresp <= answer(r_now);
        rlast <= r_rest == 0;
        r_at <= r_now + BYTES;
        r_beats <= r_rest - 1;
        r_begun <= r_rest != 0;
        if (r_rest == 0) r_head <= r_head + 1;
      end
    end
  end

  // Writes: a queue of bursts, the beat of the first of them, and a queue of responses with the data
  // that they make visible.
  reg [31:0] w_address[0:QUEUE-1];
  reg [7:0] w_left[0:QUEUE-1];
  reg [ID_BITS-1:0] w_id[0:QUEUE-1];
  reg [QUEUE_BITS:0] w_head, w_tail;
  reg [31:0] w_at;
  reg [7:0] w_beats;
  reg w_begun;
  reg [1:0] w_bad;
  integer lane, late;
  wire [31:0] w_now = w_begun ? w_at : w_address[w_head[QUEUE_BITS-1:0]];
  wire [7:0] w_rest = w_begun ? w_beats : w_left[w_head[QUEUE_BITS-1:0]];
  wire w_takes = wvalid && wready;
  wire [1:0] w_answer = answer(w_now) | (w_begun ? w_bad : 2'b00);
  wire [7:0] w_number = w_left[w_head[QUEUE_BITS-1:0]] - w_rest;
  reg [31:0] b_due[0:QUEUE-1];
  reg [ID_BITS-1:0] b_id[0:QUEUE-1];
  reg [31:0] b_address[0:QUEUE-1];
  reg [7:0] b_left[0:QUEUE-1];
  reg [1:0] b_answer[0:QUEUE-1];
  reg [DATA_BITS-1:0] b_data[0:QUEUE*BURST-1];
  reg [BYTES-1:0] b_strobe[0:QUEUE*BURST-1];
  wire [31:0] b_first = b_address[b_head[QUEUE_BITS-1:0]];
  reg [QUEUE_BITS:0] b_head, b_tail;
  assign awready = w_tail - w_head != QUEUE[QUEUE_BITS:0] && !stalls[2];
  assign wready = w_head != w_tail && b_tail - b_head != QUEUE[QUEUE_BITS:0] && !stalls[3];
  always @(posedge clk) begin
    if (rst) begin
      {w_head, w_tail, w_begun, b_head, b_tail, bvalid} <= 0;
    end else begin
      if (awvalid && awready) begin
        w_address[w_tail[QUEUE_BITS-1:0]] <= awaddr;
        w_left[w_tail[QUEUE_BITS-1:0]] <= awlen;
        w_id[w_tail[QUEUE_BITS-1:0]] <= awid;
        w_tail <= w_tail + 1;
      end
      if (w_takes) begin
        b_data[{b_tail[QUEUE_BITS-1:0], w_number[BURST_BITS-1:0]}] <= wdata;
        b_strobe[{b_tail[QUEUE_BITS-1:0], w_number[BURST_BITS-1:0]}] <= faulty(w_now) ? {BYTES{1'b0}} : wstrb;
        w_at <= w_now + BYTES;
        w_beats <= w_rest - 1;
        w_begun <= w_rest != 0;
        w_bad <= w_answer;
        if (w_rest == 0) begin
          w_head <= w_head + 1;
          b_tail <= b_tail + 1;
          b_due[b_tail[QUEUE_BITS-1:0]] <= now + latency;
          b_id[b_tail[QUEUE_BITS-1:0]] <= w_id[w_head[QUEUE_BITS-1:0]];
          b_address[b_tail[QUEUE_BITS-1:0]] <= w_address[w_head[QUEUE_BITS-1:0]];
          b_left[b_tail[QUEUE_BITS-1:0]] <= w_left[w_head[QUEUE_BITS-1:0]];
          b_answer[b_tail[QUEUE_BITS-1:0]] <= w_answer;
        end
      end
      if (bready) bvalid <= 0;
      if (b_head != b_tail && now - b_due[b_head[QUEUE_BITS-1:0]] < 32'h8000_0000 && !stalls[4]
          && (!bvalid || bready)) begin
        bvalid <= 1;
        bid <= b_id[b_head[QUEUE_BITS-1:0]];
        bresp <= b_answer[b_head[QUEUE_BITS-1:0]];
        for (late = 0; late <= {24'd0, b_left[b_head[QUEUE_BITS-1:0]]} && late < BURST; late = late + 1)
          for (lane = 0; lane < BYTES; lane = lane + 1)
            if (b_strobe[{b_head[QUEUE_BITS-1:0], late[BURST_BITS-1:0]}][lane])
              words[b_first[SHIFT+:WORD_BITS]+late[WORD_BITS-1:0]][8*lane+:8]
                  <= b_data[{b_head[QUEUE_BITS-1:0], late[BURST_BITS-1:0]}][8*lane+:8];
        b_head <= b_head + 1;
      end
    end
  end

  // Beats under way of each client, and bursts that wait for their responses.
  integer client;
  reg [31:0] reading[0:(1 << ID_BITS)-1];
  reg [31:0] writing;
  reg too_many;
  always @(posedge clk) begin
    too_many <= 0;
    for (client = 0; client < 1 << ID_BITS; client = client + 1) begin
      reading[client] <= rst ? 0 : reading[client]
          + (arvalid && arready && arid == client[ID_BITS-1:0] ? {24'd0, arlen} + 1 : 0)
          - (rvalid && rready && rid == client[ID_BITS-1:0] ? 1 : 0);
      if (!rst && reading[client] > MOST_READ) too_many <= 1;
    end
    writing <= rst ? 0 : writing + {31'd0, awvalid && awready} - {31'd0, bvalid && bready};
    if (!rst && writing > MOST_WRITES) too_many <= 1;
    beats_read <= rst ? 0 : beats_read + {31'd0, rvalid && rready};
    beats_written <= rst ? 0 : beats_written + {31'd0, w_takes};
  end
  wire under_way = r_head != r_tail || rvalid || w_head != w_tail || b_head != b_tail || bvalid
      || arvalid || awvalid || wvalid;

  // Violations by the manager.
  reg ar_waits, aw_waits, w_waits;
  reg [39:0] ar_before, aw_before;
  reg [DATA_BITS:0] w_before;
  wire [31:0] ar_bytes = ({24'd0, arlen} + 1) << SHIFT;
  wire [31:0] aw_bytes = ({24'd0, awlen} + 1) << SHIFT;
  wire [12:0] wrong = {
    arvalid && {1'b0, araddr} + {1'b0, ar_bytes} > {1'b0, access_last} + 1,
    awvalid && {1'b0, awaddr} + {1'b0, aw_bytes} > {1'b0, access_last} + 1,
    (rvalid && !rready) || (bvalid && !bready) || (w_begun && !wvalid)
        || (arvalid && arlen >= BURST) || (awvalid && awlen >= BURST),
    too_many,
    resting && under_way,
    w_takes && |wstrb && (w_now < write_first || w_now > write_last),
    arvalid && (arsize != SIZE || arburst != 2'b01 || {20'd0, araddr[11:0]} + ar_bytes > 4096),
    awvalid && (awsize != SIZE || awburst != 2'b01 || {20'd0, awaddr[11:0]} + aw_bytes > 4096),
    w_takes && wlast != (w_rest == 0),
    ar_waits && (!arvalid || ar_before != {araddr, arlen}),
    aw_waits && (!awvalid || aw_before != {awaddr, awlen}),
    w_waits && (!wvalid || w_before != {wdata, wlast}),
    (arvalid && araddr[SHIFT-1:0] != 0) || (awvalid && awaddr[SHIFT-1:0] != 0)
  };
  always @(posedge clk) begin
    ar_before <= {araddr, arlen};
    aw_before <= {awaddr, awlen};
    w_before <= {wdata, wlast};
    ar_waits <= !rst && arvalid && !arready;
    aw_waits <= !rst && awvalid && !awready;
    w_waits <= !rst && wvalid && !wready;
    violations <= rst ? 0 : violations + {31'd0, |wrong};
  end
endmodule
