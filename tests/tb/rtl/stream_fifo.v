// The design of tests/tb/test_simulator.py: a FIFO of four between two streams, whose ports are
// named as Amaranth names them, and a counter of the beats that went through it.
module stream_fifo #(
    parameter WIDTH = 72
) (
    input clk,
    input rst,
    input [WIDTH-1:0] i__payload,
    input i__valid,
    output i__ready,
    output [WIDTH-1:0] o__payload,
    output o__valid,
    input o__ready,
    output reg [31:0] beats
);
  reg [WIDTH-1:0] memory[0:3];
  reg [2:0] level;
  reg [1:0] head;
  reg [1:0] tail;
  wire push = i__valid && i__ready;
  wire pop = o__valid && o__ready;

  assign i__ready   = level != 3'd4;
  assign o__valid   = level != 3'd0;
  assign o__payload = memory[head];

  always @(posedge clk)
    if (rst) begin
      level <= 3'd0;
      head <= 2'd0;
      tail <= 2'd0;
      beats <= 32'd0;
    end else begin
      level <= level + {2'd0, push} - {2'd0, pop};
      if (push) begin
        memory[tail] <= i__payload;
        tail <= tail + 2'd1;
      end
      if (pop) begin
        head  <= head + 2'd1;
        beats <= beats + 32'd1;
      end
    end
endmodule
